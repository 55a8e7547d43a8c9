//! Real programs sign, decrypt, log in and serve TLS with keys that are in services.

mod code_signing;
mod nginx;
mod pkcs11_tool;
mod remote;
mod ssh;
mod tls;
