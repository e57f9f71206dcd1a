//! DNS look-ups in blocklists. A reply is kept for its TTL.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::{
    ConnectionProvider, Resolver as HickoryResolver, TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    },
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use thiserror::Error;

use super::name_servers;
use crate::policy::dnsbl::Reply;

/// No name server can be asked.
#[derive(Debug, Error)]
#[error("no name server can be asked: {0}; set dnsbl.resolver to one")]
pub struct ResolverError(String);

/// Time limit for one try. A second try replaces a lost datagram.
const TRY: Duration = Duration::from_secs(2);

/// Asks a zone about addresses.
pub(super) struct Resolver {
    kept: TokioResolver,
    /// Keeps no replies, so that a test of a zone always asks the zone.
    fresh: TokioResolver,
    warnings: Vec<String>,
}

impl Resolver {
    /// Asks this name server, or those of /etc/resolv.conf as the C library reads it.
    pub(super) fn new(name_server: Option<SocketAddr>) -> Result<Self, ResolverError> {
        let (config, warnings) = match name_server {
            None => {
                let servers = name_servers::of_system();
                (asking(&servers.addresses), servers.warnings)
            }
            Some(address) => (only(address), Vec::new()),
        };
        Ok(Self {
            kept: build(config.clone(), None)?,
            fresh: build(config, Some(0))?,
            warnings,
        })
    }

    /// A line for each name server of the system that can't be asked.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The zone's reply for `name`.
    pub(super) async fn reply(&self, name: &str) -> Reply {
        reply_of(&self.kept, name).await
    }

    /// The zone's reply for `name`, without use of kept replies.
    pub(super) async fn fresh_reply(&self, name: &str) -> Reply {
        reply_of(&self.fresh, name).await
    }

    /// The first TXT record of `name`.
    pub(super) async fn text(&self, name: &str) -> Option<String> {
        let found = self.kept.lookup(name, RecordType::TXT).await.ok()?;
        found
            .answers()
            .iter()
            .find_map(|record| match &record.data {
                RData::TXT(text) => {
                    let octets: Vec<u8> = text.txt_data.iter().flatten().copied().collect();
                    Some(String::from_utf8_lossy(&octets).trim().to_owned())
                        .filter(|text| !text.is_empty())
                }
                _ => None,
            })
    }
}

async fn reply_of<P: ConnectionProvider>(resolver: &HickoryResolver<P>, name: &str) -> Reply {
    match resolver.lookup(name, RecordType::A).await {
        Ok(found) => {
            let addresses = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(address) => Some(address.0),
                    _ => None,
                });
            Reply::of_addresses(addresses.collect())
        }
        Err(error) if error.is_no_records_found() => Reply::NotListed,
        Err(NetError::Timeout) => Reply::TimedOut,
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn build(config: ResolverConfig, cache_size: Option<u64>) -> Result<TokioResolver, ResolverError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    set(builder.options_mut(), cache_size);
    builder
        .build()
        .map_err(|error: NetError| ResolverError(error.to_string()))
}

fn asking(addresses: &[IpAddr]) -> ResolverConfig {
    let servers = addresses.iter().copied();
    ResolverConfig::from_name_servers(servers.map(NameServerConfig::udp_and_tcp).collect())
}

fn only(address: SocketAddr) -> ResolverConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(
        address.ip(),
        true,
        connections.to_vec(),
    )])
}

/// Ignores the options of /etc/resolv.conf, which are for programs that can wait.
fn set(options: &mut ResolverOpts, cache_size: Option<u64>) {
    options.timeout = TRY;
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    if let Some(size) = cache_size {
        options.cache_size = size;
    }
}
