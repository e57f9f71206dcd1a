//! A software security module: makes requests and opens key load files.
