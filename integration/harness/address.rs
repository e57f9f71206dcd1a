//! A loopback address for each site, so that sites run side by side on the
//! very ports that `postfix/` names.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The port that is held as long as its address is.
const CLAIM_PORT: u16 = 2;

/// A loopback address that no other site uses while this value lives.
#[derive(Debug)]
pub struct SiteAddress {
    pub address: Ipv4Addr,
    _claim: TcpListener,
}

impl SiteAddress {
    /// Takes the next address that nobody holds. The claim is a listening
    /// socket: the kernel gives it to one process and takes it back at its end.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = process::id()
                .wrapping_mul(64)
                .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let [_, high, middle, low] = number.to_be_bytes();
            // Not 127.0.0.x, where the machine's own services are.
            let address = Ipv4Addr::new(127, high | 1, middle, low.clamp(1, 254));
            if let Ok(claim) = TcpListener::bind((address, CLAIM_PORT)) {
                return Self {
                    address,
                    _claim: claim,
                };
            }
        }
    }
}
