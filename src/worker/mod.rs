//! Takes a spooled request to its reply, and the reply to Postfix.
