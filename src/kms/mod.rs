//! The key management system behind the gateway: keys, modules and the issue of key load files.
