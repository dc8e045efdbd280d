//! `NO_PROXY`: which hosts are reached without the proxy of the environment.

use std::net::IpAddr;

/// Whether `host` is reached directly, as curl and kubectl decide it: this machine always, else what a comma-separated
/// list names by a domain (with or without a dot before it), an address, or a network such as `10.0.0.0/8`.
pub(crate) fn is_direct(list: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    let here = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
    here || list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| match address {
        _ if entry == "*" => true,
        Some(address) => entry.parse() == Ok(address) || in_network(address, entry),
        None => in_domain(host, entry),
    })
}

fn in_domain(host: &str, entry: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let domain = entry.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(address: IpAddr, entry: &str) -> bool {
    let Some((network, length)) = entry.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (one, other, bits) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    length <= bits && (one ^ other).checked_shr(bits - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_need_no_proxy() {
        for (list, host, expected) in [
            ("", "localhost", true),
            ("", "127.0.0.1", true),
            ("", "[::1]", true),
            ("", "api.example.com", false),
            ("*", "api.example.com", true),
            ("example.com", "api.example.com", true),
            (".example.com", "API.example.com", true),
            ("*.example.com", "api.example.com", true),
            ("example.com", "example.com", true),
            ("ample.com", "api.example.com", false),
            ("a,, 10.0.0.0/8 ,b", "10.77.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("10.0.0.0/33", "10.0.0.1", false),
            ("10.77.0.1", "10.77.0.1", true),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "10.0.0.1", false),
            ("::/0", "[fd12::1]", true),
        ] {
            assert_eq!(is_direct(list, host), expected, "{list:?} {host}");
        }
    }
}
