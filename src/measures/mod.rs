//! The one table of metrics. All counts and gauges go through its rows. The
//! exporter takes its descriptions from it, and tests compare documents, dashboard and
//! alerts with it. Knows no exporter, and nothing of the gateway but the names in
//! labels, none of which comes from mail.

mod labels;
mod series;

use metrics::{Counter, Gauge, Histogram};

pub(crate) use self::labels::{
    Build, ConnectionEnded, Decided, DeliveryEnd, Finished, FoundAtFault, LookUp, MemoryPart,
    NotStored, NoticeSent, Reloaded, Throttled, Waiting,
};
pub use self::series::Kind;
pub(crate) use self::series::{Measure, OfZones, Row, Series, Unit, ZoneSeries};

/// Seconds, from a hit of the cache to the limit of a look-up.
const LOOK_UP_TIMES: &[f64] = &[0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// Seconds, from an answer at once to an answer after a day's outage.
const REPLY_TIMES: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
];

/// Seconds, from a fast disk's sync to the end of the wait for a lock.
const COMMIT_TIMES: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Changes, up to the most that may wait for a commit.
const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Writes each row and the table of all rows.
macro_rules! measures {
    ($($name:ident: $series:ty = $metric:literal [$($label:literal),*] in $unit:ident
        $(by $buckets:ident)?, $about:literal;)+) => {
        $(
            #[doc = $about]
            pub(crate) static $name: $series = <$series>::new(Measure {
                name: $metric,
                labels: &[$($label),*],
                unit: Unit::$unit,
                kind: <$series>::KIND,
                buckets: measures!(@buckets $($buckets)?),
                about: $about,
            });
        )+

        /// All metrics.
        pub static MEASURES: &[&(dyn Row + Sync)] = &[$(&$name),+];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

measures! {
    MESSAGES: Series<Counter, Decided> = "kms_gateway_messages_total" ["verdict", "rule"] in Count,
        "Messages by verdict and the rule that decided, none for a request; those for others have \
         the verdict pass, a request that came once more is a duplicate.";
    NOT_STORED: Series<Counter, NotStored> = "kms_gateway_messages_not_stored_total" ["reason"] in Count,
        "Messages for the gateway that it could not put on disk, by reason: no room, no memory, or \
         trouble with the store. They wait at the sender's or in Postfix's queue.";
    FINISHED: Series<Counter, Finished> = "kms_gateway_requests_finished_total" ["service", "result"] in Count,
        "Requests with their final result: Success, an error code, or none where nobody can be \
         answered. Services that there are not count as unknown.";
    NOTICES: Series<Counter, NoticeSent> = "kms_gateway_notices_total" ["code"] in Count,
        "Notices that a result comes later: Deferred, or Blocked where the sender is blocked until then.";
    REPLY_LATENCY: Series<Histogram, ()> = "kms_gateway_reply_latency_seconds" [] in Seconds by REPLY_TIMES,
        "From the end of a request's message to the time when Postfix took the reply, a notice \
         included, for each address.";
    DELIVERIES: Series<Counter, DeliveryEnd> = "kms_gateway_delivery_attempts_total" ["outcome"] in Count,
        "Attempts to hand a reply to Postfix: delivered; put off, as its address is refused for now; kept, as \
         Postfix refuses it and not for its address; no port, which took nothing; refused for good; or given \
         up after the last.";
    REPLY_PORT_UP: Series<Gauge, ()> = "kms_gateway_reply_port_up" [] in Count,
        "1 if Postfix's reply port takes replies, 0 while it is in trouble and replies wait for it.";
    SPOOL_REQUESTS: Series<Gauge, Waiting> = "kms_gateway_spool_requests" ["state"] in Count,
        "Requests without their result: waiting for their turn or in work, or put off to a later time.";
    SPOOL_REPLIES: Series<Gauge, ()> = "kms_gateway_spool_replies" [] in Count,
        "Replies that are not handed to Postfix for all of their addresses.";
    REPLIES_REFUSED: Series<Gauge, ()> = "kms_gateway_spool_replies_refused" [] in Count,
        "Replies, each address by itself, that Postfix refused when they were last tried, and not for their \
         addresses: they are kept.";
    SPOOL_BYTES: Series<Gauge, ()> = "kms_gateway_spool_bytes" [] in Bytes,
        "Size of the requests and replies in the spool.";
    SPOOL_LIMIT: Series<Gauge, ()> = "kms_gateway_spool_limit" [] in Count,
        "Requests and replies that the spool may hold (store.max_requests).";
    SPOOL_LIMIT_BYTES: Series<Gauge, ()> = "kms_gateway_spool_limit_bytes" [] in Bytes,
        "Bytes that the spool may hold (store.max_bytes).";
    SPOOL_AGE: Series<Gauge, ()> = "kms_gateway_spool_oldest_age_seconds" [] in Seconds,
        "How long the oldest request has waited that is in the spool or whose reply is; 0 if none is.";
    THROTTLED: Series<Gauge, Throttled> = "kms_gateway_throttled_senders" ["state"] in Count,
        "Senders over their allowance: waiting for their turn, or blocked.";
    DNSBL_LOOK_UPS: OfZones<Counter, LookUp> = "kms_gateway_dnsbl_lookups_total" ["zone", "outcome"] in Count,
        "Clients that a DNS blocklist was asked about: listed, not listed, no answer in time, an error, or \
         not asked as the zone is switched off.";
    DNSBL_TIME: OfZones<Histogram, ()> = "kms_gateway_dnsbl_lookup_seconds" ["zone"] in Seconds by LOOK_UP_TIMES,
        "How long a DNS blocklist took to answer, replies from the cache included.";
    KMC_KEYS_END: Series<Gauge, ()> = "kms_gateway_kmc_keys_end_timestamp_seconds" [] in Seconds,
        "When the last KMC key expires that follows the others without a gap, in seconds since \
         1970 UTC; 0 if none serves. Not there with an external KMS.";
    SEALED_ROWS_ALTERED: Series<Gauge, ()> = "kms_gateway_sealed_rows_altered" [] in Count,
        "Rows of KMC keys, modules and vending keys that somebody altered: they do not open, and requests \
         that need them wait. Not there with an external KMS.";
    COMMIT_TIME: Series<Histogram, ()> = "kms_gateway_store_commit_seconds" [] in Seconds by COMMIT_TIMES,
        "How long a transaction took, its sync to the disk included.";
    BATCH_SIZE: Series<Histogram, ()> = "kms_gateway_store_commit_changes" [] in Count by BATCH_SIZES,
        "Changes that shared a transaction.";
    COMMIT_FAILURES: Series<Counter, ()> = "kms_gateway_store_commit_failures_total" [] in Count,
        "Transactions that failed as a whole: the disk is full or broken, or another process keeps the \
         database locked.";
    AUDIT_SEQUENCE: Series<Gauge, ()> = "kms_gateway_audit_sequence" [] in Count,
        "Sequence number of the newest audit entry. It never falls, unless the log was cut or replaced.";
    CLOCK_BEHIND: Series<Gauge, ()> = "kms_gateway_clock_behind_seconds" [] in Seconds,
        "How far the clock is behind the time that has surely passed, below 0 if it is ahead; 0 when it \
         is believed. Beyond half an hour somebody should look at it.";
    DATABASE_CLOCK_AHEAD: Series<Gauge, ()> = "kms_gateway_database_clock_ahead_seconds" [] in Seconds,
        "How far the clock of the database, by which several gateways go, is ahead of this machine's; below 0 \
         if it is behind; 0 with SQLite.";
    NODES: Series<Gauge, ()> = "kms_gateway_nodes" [] in Count,
        "Gateways of the database that run, this one included: each notes itself there every 10 seconds; 1 \
         with SQLite.";
    MILTER_SESSIONS: Series<Gauge, ()> = "kms_gateway_milter_sessions" [] in Count,
        "Connections of the milter port, whatever they have said so far.";
    MILTER_LIMIT: Series<Gauge, ()> = "kms_gateway_milter_sessions_limit" [] in Count,
        "Connections that the milter port may have (milter.max_connections).";
    CONNECTIONS_ENDED: Series<Counter, ConnectionEnded> = "kms_gateway_milter_connections_ended_total" ["reason"] in Count,
        "Connections of the milter port that were ended to make room for others, by what they were doing: \
         silent before the negotiation, idle between messages, waiting between MAIL and the content, \
         or standing still within it.";
    MILTER_MEMORY: Series<Gauge, MemoryPart> = "kms_gateway_milter_memory_bytes" ["part"] in Bytes,
        "Memory that messages hold until they are on disk: their content, what is made of it at their \
         end, and packets larger than Postfix's.";
    MILTER_MEMORY_LIMIT: Series<Gauge, MemoryPart> = "kms_gateway_milter_memory_limit_bytes" ["part"] in Bytes,
        "Memory that messages may hold (milter.max_memory), by the same parts.";
    PANICS: Series<Counter, FoundAtFault> = "kms_gateway_panics_total" ["part"] in Count,
        "Faults of the gateway that cost a message a temporary failure, or a request or reply an attempt.";
    LOG_LINES_LOST: Series<Counter, ()> = "kms_gateway_log_lines_lost_total" [] in Count,
        "Lines of the log that nobody read in time, or that could not be written.";
    READY: Series<Gauge, ()> = "kms_gateway_ready" [] in Count,
        "1 if a request would be taken now, 0 if not: what /readyz says.";
    RELOADS: Series<Counter, Reloaded> = "kms_gateway_reloads_total" ["outcome"] in Count,
        "Times that the configuration was read again: good, or bad, which changes nothing.";
    RELOAD_IS_GOOD: Series<Gauge, ()> = "kms_gateway_last_reload_successful" [] in Count,
        "1 if the configuration in force is the newest, 0 if that was bad.";
    BUILD: Series<Gauge, Build> = "kms_gateway_build_info" ["version"] in Count,
        "1, with the version of the program.";
    STARTED: Series<Gauge, ()> = "process_start_time_seconds" [] in Seconds,
        "When the process started, in seconds since 1970 UTC.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_kind_and_unit() {
        let mut seen = HashSet::new();
        for row in MEASURES {
            let measure = row.measure();
            let name = measure.name;
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(
                name.ends_with("_total"),
                measure.kind == Kind::Counter,
                "{name}"
            );
            assert_eq!(
                name.ends_with("_seconds"),
                measure.unit == Unit::Seconds,
                "{name}"
            );
            assert_eq!(
                name.ends_with("_bytes"),
                measure.unit == Unit::Bytes,
                "{name}"
            );
            let is_rising = measure.buckets.is_sorted_by(|one, next| one < next);
            assert!(is_rising, "{name}");
            let has_buckets = !measure.buckets.is_empty();
            assert_eq!(has_buckets, measure.kind == Kind::Histogram, "{name}");
        }
    }

    #[test]
    fn each_label_has_its_value_everywhere() {
        for row in MEASURES {
            let labels = row.measure().labels.len();
            for values in row.known() {
                assert_eq!(values.len(), labels, "{}", row.measure().name);
            }
        }
    }
}
