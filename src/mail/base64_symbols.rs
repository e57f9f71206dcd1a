//! The symbols of base64, as mail has it.

/// The base64 symbols up to the padding. Characters outside the alphabet are
/// skipped (RFC 2045 6.8). So is text that a list server adds behind the
/// padding.
pub(super) fn base64_symbols(raw: &[u8]) -> Vec<u8> {
    raw.iter()
        .copied()
        .take_while(|&octet| octet != b'=')
        .filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))
        .collect()
}
