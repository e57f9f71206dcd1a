#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kms_gateway_fuzz::policy::check(data));
