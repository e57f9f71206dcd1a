//! What Postfix must say so that mail reaches the gateway and its replies leave:
//! the services of master.cf, and what each parameter of main.cf may do to them.
//! It must not know mail and storage.

pub mod parameters;
pub mod services;
