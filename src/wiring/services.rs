//! The services that the gateway needs in master.cf: their columns and the parameters that
//! they override. The installer, `check`, the guide and `postfix/master.cf.part` are made
//! from this table.

use super::service::Value::{DaemonName, Milter, Networks, Signers, Text};
pub(crate) use super::service::{CLEANUP, Service, Value};
pub use super::service::{Filling, Group, OLDEST, Role, TRANSPORT};

/// A parameter of main.cf that begins with the transport's name. The queue manager reads
/// it, so that no service can override it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfTransport {
    /// The parameter, such as `kms-gateway_transport_rate_delay`.
    pub parameter: &'static str,
    /// The value that the gateway needs.
    pub value: &'static str,
    /// The parameter that applies to the transport otherwise.
    pub instead_of: &'static str,
}

/// The transport's settings in main.cf: mail for the gateway does not wait for its turn.
pub const OF_TRANSPORT: [OfTransport; 2] = [
    OfTransport {
        parameter: "kms-gateway_destination_rate_delay",
        value: "0s",
        instead_of: "default_destination_rate_delay",
    },
    OfTransport {
        parameter: "kms-gateway_transport_rate_delay",
        value: "0s",
        instead_of: "default_transport_rate_delay",
    },
];

/// The four services, in their order in master.cf.
pub const SERVICES: [&Service; 4] = [&INTERNAL, &REPLIES, &TRANSPORT_SERVICE, &CLEANUP_SERVICE];

// Postfix's default number of processes: `-` would mean `default_process_limit`.
const PORT: &str = "inet n - n - 100 smtpd";

const INTERNAL: Service = Service {
    role: Role::Internal,
    purpose: "The internal listener: takes mail for the gateway that reached the queue without passing it.",
    columns: PORT,
    groups: &[
        &[
            Group {
                why: "Mail must pass the gateway here. While the gateway is down, the answer is 451 and the queue keeps the mail.",
                since: OLDEST,
                overrides: &[
                    ("smtpd_milters", Milter),
                    ("milter_macro_daemon_name", DaemonName),
                    ("milter_protocol", Text("6")),
                    ("milter_macro_defaults", Text("")),
                ],
            },
            Group {
                why: "Addresses were mapped, contents checked and recipients validated when the message came in. A second time could change or refuse it.",
                since: OLDEST,
                overrides: &[(
                    "receive_override_options",
                    Text("no_address_mappings,no_header_body_checks,no_unknown_recipient_checks"),
                )],
            },
        ],
        BOTH_PORTS,
    ],
};

const REPLIES: Service = Service {
    role: Role::Replies,
    purpose: "The port for replies: name your signing milters here, and never the gateway.",
    columns: PORT,
    groups: &[
        &[
            Group {
                why: "Only milters that sign replies belong here. The gateway must not see its own mail.",
                since: OLDEST,
                overrides: &[("smtpd_milters", Signers)],
            },
            Group {
                why: "A header check could refuse every reply permanently. Aliases must still be expanded, so that no other option is set here.",
                since: OLDEST,
                overrides: &[("receive_override_options", Text("no_header_body_checks"))],
            },
        ],
        BOTH_PORTS,
    ],
};

const BOTH_PORTS: &[Group] = &[
    Group {
        why: "A milter map could take the milters away for clients on loopback.",
        since: OLDEST,
        overrides: &[("smtpd_milter_maps", Text(""))],
    },
    Group {
        why: "The session on loopback is plain. The port would wait in vain for TLS, a login or a PROXY line.",
        since: OLDEST,
        overrides: &[
            ("smtpd_tls_security_level", Text("none")),
            ("smtpd_tls_wrappermode", Text("no")),
            ("smtpd_sasl_auth_enable", Text("no")),
            ("smtpd_upstream_proxy_protocol", Text("")),
        ],
    },
    Group {
        why: "Block lists, HELO checks, policy servers and sender checks would judge this host, or the sender `<>`.",
        since: OLDEST,
        overrides: &[
            ("smtpd_client_restrictions", Text("")),
            ("smtpd_helo_restrictions", Text("")),
            ("smtpd_sender_restrictions", Text("")),
            ("smtpd_data_restrictions", Text("")),
            ("smtpd_end_of_data_restrictions", Text("")),
        ],
    },
    Group {
        why: "Only loopback may send here. It may send to any address, because replies go to the whole world.",
        since: OLDEST,
        overrides: &[
            ("smtpd_relay_restrictions", Text("permit_mynetworks,reject")),
            (
                "smtpd_recipient_restrictions",
                Text("permit_mynetworks,reject"),
            ),
            ("mynetworks", Networks),
        ],
    },
    Group {
        why: "A content filter would take the mail, and return it by a port without these overrides.",
        since: OLDEST,
        overrides: &[
            ("content_filter", Text("")),
            ("smtpd_proxy_filter", Text("")),
        ],
    },
    Group {
        why: "Commands would be rewritten, refused or ignored, and 8BITMIME and SMTPUTF8 not offered.",
        since: OLDEST,
        overrides: &[
            ("smtpd_command_filter", Text("")),
            ("smtpd_noop_commands", Text("")),
            ("smtpd_discard_ehlo_keywords", Text("")),
            ("smtpd_discard_ehlo_keyword_address_maps", Text("")),
        ],
    },
    Group {
        why: "It could turn the gateway's 451 into a permanent refusal, and the mail would bounce.",
        since: (3, 11),
        overrides: &[("smtpd_reject_filter_maps", Text(""))],
    },
    Group {
        why: "Limits meant for strangers would apply to this host: sessions per minute, errors, time.",
        since: OLDEST,
        overrides: &[
            ("smtpd_client_event_limit_exceptions", Text("$mynetworks")),
            ("smtpd_error_sleep_time", Text("0s")),
            ("smtpd_hard_error_limit", Text("100")),
            ("smtpd_junk_command_limit", Text("100")),
            ("smtpd_timeout", Text("300s")),
        ],
    },
    Group {
        why: "Mail from the queue, or a reply to it, must never be too large.",
        since: OLDEST,
        overrides: &[("message_size_limit", Text("0"))],
    },
    Group {
        why: "Addresses in header fields would be rewritten. A request without a Message-ID would get a new one at each attempt.",
        since: OLDEST,
        overrides: &[("local_header_rewrite_clients", Text(""))],
    },
    Group {
        why: "Both ports have a cleanup(8) of their own. Header checks, address mappings and limits of main.cf do not apply to it.",
        since: OLDEST,
        overrides: &[("cleanup_service_name", Text(CLEANUP))],
    },
];

const TRANSPORT_SERVICE: Service = Service {
    role: Role::Transport,
    purpose: "The transport from the queue to the internal listener.",
    columns: "unix - - n - 100 smtp",
    groups: &[&[
        Group {
            why: "The internal listener offers neither TLS nor a login.",
            since: OLDEST,
            overrides: &[
                ("smtp_tls_security_level", Text("none")),
                ("smtp_tls_wrappermode", Text("no")),
                ("smtp_tls_policy_maps", Text("")),
                ("smtp_tls_per_site", Text("")),
                ("smtp_sasl_auth_enable", Text("no")),
            ],
        },
        Group {
            why: "A message with REQUIRETLS would be refused: there is no TLS on loopback, and the message goes no further.",
            since: (3, 11),
            overrides: &[("smtp_requiretls_policy", Text("opportunistic"))],
        },
        Group {
            why: "While the gateway is down, its mail would go to another host, or bounce.",
            since: OLDEST,
            overrides: &[
                ("smtp_fallback_relay", Text("")),
                ("smtp_delivery_status_filter", Text("")),
                ("smtp_reply_filter", Text("")),
            ],
        },
        Group {
            why: "The gateway must get the message unchanged: a changed record fails its checksum.",
            since: OLDEST,
            overrides: &[
                ("smtp_generic_maps", Text("")),
                ("smtp_header_checks", Text("")),
                ("smtp_mime_header_checks", Text("")),
                ("smtp_nested_header_checks", Text("")),
                ("smtp_body_checks", Text("")),
                ("smtp_line_length_limit", Text("0")),
            ],
        },
        Group {
            why: "Without EHLO and its extensions a message would be re-encoded, or bounce if it needs SMTPUTF8.",
            since: OLDEST,
            overrides: &[
                ("smtp_always_send_ehlo", Text("yes")),
                ("smtp_never_send_ehlo", Text("no")),
                ("smtp_discard_ehlo_keywords", Text("")),
                ("smtp_discard_ehlo_keyword_address_maps", Text("")),
                ("smtp_pix_workarounds", Text("")),
                ("smtp_pix_workaround_maps", Text("")),
                ("smtp_quote_rfc821_envelope", Text("yes")),
            ],
        },
        Group {
            why: "If `inet_interfaces` names a public address, that would be the source. It cannot reach loopback, and is not in `mynetworks`.",
            since: OLDEST,
            overrides: &[
                ("smtp_bind_address", Text("127.0.0.1")),
                ("smtp_bind_address6", Text("::1")),
            ],
        },
        Group {
            why: "A cached session that lost its gateway would stay in use after the gateway is back.",
            since: OLDEST,
            overrides: &[
                ("smtp_connection_cache_on_demand", Text("no")),
                ("smtp_connection_cache_destinations", Text("")),
            ],
        },
        Group {
            why: "The gateway may need 10 s for an answer, and 60 s at the end of a message.",
            since: OLDEST,
            overrides: &[
                ("smtp_helo_timeout", Text("300s")),
                ("smtp_mail_timeout", Text("300s")),
                ("smtp_rcpt_timeout", Text("300s")),
                ("smtp_data_init_timeout", Text("120s")),
                ("smtp_data_xfer_timeout", Text("180s")),
                ("smtp_data_done_timeout", Text("600s")),
            ],
        },
    ]],
};

const CLEANUP_SERVICE: Service = Service {
    role: Role::Cleanup,
    purpose: "The cleanup of both ports: puts their mail into the queue.",
    columns: "unix n - n - 0 cleanup",
    groups: &[&[
        Group {
            why: "A reply's From must stay the gateway. Only the recipient is mapped, as in any mail to that person.",
            since: OLDEST,
            overrides: &[
                ("canonical_classes", Text("envelope_recipient")),
                ("sender_canonical_maps", Text("")),
                ("masquerade_domains", Text("")),
                ("remote_header_rewrite_domain", Text("")),
                ("always_add_missing_headers", Text("no")),
            ],
        },
        Group {
            why: "They could refuse or change a reply, or a request that Postfix has accepted before.",
            since: OLDEST,
            overrides: &[
                ("milter_header_checks", Text("")),
                ("message_drop_headers", Text("")),
            ],
        },
        Group {
            why: "A message met these limits when it came in. It would meet them again, with one more hop.",
            since: OLDEST,
            overrides: &[
                ("message_size_limit", Text("0")),
                ("header_size_limit", Text("102400")),
                ("hopcount_limit", Text("100")),
                ("queue_file_attribute_count_limit", Text("100")),
                ("in_flow_delay", Text("0s")),
            ],
        },
    ]],
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Write as _};

    use super::*;

    /// The content of `postfix/master.cf.part`.
    fn master_cf_part() -> String {
        let filling = Filling::default();
        let mut text =
            "# For the end of master.cf. README.md says why each line is there.\n".to_owned();
        for service in SERVICES {
            let _ = write!(text, "\n# {}\n{}", service.purpose, service.lines(&filling));
        }
        text
    }

    #[test]
    fn each_role_has_its_service_and_no_parameter_stands_twice() {
        let mut roles = BTreeSet::new();
        for service in SERVICES {
            assert!(roles.insert(service.role), "{:?} twice", service.role);
            let mut seen = BTreeSet::new();
            for it in service.overrides() {
                assert!(seen.insert(it.parameter), "{} twice", it.parameter);
            }
            for group in service.groups() {
                assert!(group.why.ends_with('.'), "{}", group.why);
            }
        }
        assert_eq!(roles.len(), 4);
    }

    #[test]
    fn an_entry_has_its_fillings_and_braces_where_they_are_needed() {
        let filling = Filling {
            replies: "[::1]:25025".to_owned(),
            signers: "inet:localhost:8891, { unix:rspamd, default_action=accept }".to_owned(),
            ..Filling::default()
        };
        assert_eq!(REPLIES.key(&filling), "[::1]:25025/inet");
        let entry = REPLIES.entry(&filling);
        let expected = "[::1]:25025 inet n - n - 100 smtpd -o { smtpd_milters = \
                        inet:localhost:8891, { unix:rspamd, default_action=accept } } -o ";
        assert!(entry.starts_with(expected), "{entry}");
        assert!(
            entry.contains(" -o mynetworks=127.0.0.0/8,[::1]/128 "),
            "{entry}"
        );
    }

    #[test]
    fn a_postfix_is_told_nothing_that_it_does_not_know() {
        let of = |postfix| {
            REPLIES.entry(&Filling {
                postfix,
                ..Filling::default()
            })
        };
        assert!(!of((3, 10)).contains("smtpd_reject_filter_maps"));
        assert!(of((3, 11)).contains(" -o smtpd_reject_filter_maps= "));
    }

    #[test]
    fn the_part_for_master_cf_is_this_table() {
        let part = include_str!("../../postfix/master.cf.part");
        let expected = master_cf_part();
        assert!(
            part == expected,
            "put this into postfix/master.cf.part:\n{expected}"
        );
    }
}
