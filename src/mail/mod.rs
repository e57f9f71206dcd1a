//! Mail: requests out of MIME, replies into it. Knows no policy, storage or service.
