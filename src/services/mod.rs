//! The four services of the gateway.
