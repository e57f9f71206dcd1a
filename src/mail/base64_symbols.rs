//! The alphabet of base64 in lenient form, for bodies and encoded words.

/// The symbols of base64 up to the padding. Characters outside the alphabet are
/// skipped (RFC 2045 6.8). List servers add text behind the padding, which is
/// skipped too.
pub(super) fn base64_symbols(raw: &[u8]) -> Vec<u8> {
    raw.iter()
        .copied()
        .take_while(|&octet| octet != b'=')
        .filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))
        .collect()
}
