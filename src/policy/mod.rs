//! The policy: one table of rules that says what becomes of a message.
