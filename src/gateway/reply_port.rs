//! Postfix's reply port, for an operator: the running gateway's trouble with it,
//! and the port's answer to a trial.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::Config,
    printable::Printable,
    store::{HandOver, PortTrouble},
    time::relative::{ago, until},
    worker::{InjectionError, Injector},
};

/// Limit of a trial, short because a person waits for it.
const TIME: Duration = Duration::from_secs(20);

/// Returns a text for each trouble that keeps replies and that the operator should
/// mend.
pub(crate) fn warnings(hand_over: &HandOver) -> Vec<String> {
    let port = hand_over.trouble.as_ref().map(|trouble| {
        format!(
            "Postfix's reply port {} has taken no replies since {}: {}",
            trouble.port,
            trouble.since,
            Printable(&trouble.trouble)
        )
    });
    let refused = (hand_over.refused > 0).then(|| {
        let refusal = hand_over.refusal.as_deref().unwrap_or("no answer is known");
        format!(
            "{} kept that Postfix refused; the last: {}",
            match hand_over.refused {
                1 => "1 reply is".to_owned(),
                many => format!("{many} replies are"),
            },
            Printable(refusal)
        )
    });
    port.into_iter().chain(refused).collect()
}

pub(crate) fn sentence(trouble: &PortTrouble, now: Timestamp) -> String {
    let next = match trouble.is_being_tried {
        true => "An attempt is being made now".to_owned(),
        false => format!("The next attempt is {}", until(trouble.until, now)),
    };
    format!(
        "Postfix's reply port {} takes no replies. The trouble began {}: {}. {next}.",
        trouble.port,
        ago(trouble.since, now),
        Printable(&trouble.trouble)
    )
}

/// Tries the configured port up to a reply's recipient, which is the gateway's own
/// address. Delivers nothing. Returns a fact if the port takes replies or nothing listens
/// there yet, and else a warning as the error.
pub(crate) async fn try_port(config: &Config) -> Result<String, String> {
    let port = config.reply.smtp;
    if let Err(error) = TcpStream::connect(port).await {
        // No fault: Postfix may not be set up yet.
        return Ok(format!(
            "nothing takes connections at {port} ({error}): replies wait until Postfix does"
        ));
    }
    match timeout(TIME, rehearse(config, port)).await {
        Ok(Ok(session)) => {
            let smtputf8 = match session.offers_smtputf8() {
                true => "",
                false => "; without SMTPUTF8 no reply goes to an address outside ASCII",
            };
            session.quit().await;
            Ok(format!("{port}, which takes replies{smtputf8}"))
        }
        Ok(Err(error)) => Err(format!(
            "Postfix's reply port {port} (reply.smtp) takes no reply: {}; compare its service in \
             master.cf with postfix/README.md",
            Printable(&error.to_string())
        )),
        Err(_) => Err(format!(
            "Postfix's reply port {port} (reply.smtp) has not answered within {} s; look at \
             Postfix's log, and at the milters of that service",
            TIME.as_secs()
        )),
    }
}

async fn rehearse(config: &Config, port: SocketAddr) -> Result<Injector, InjectionError> {
    let Some(address) = config.gateway.addresses.first() else {
        return Injector::connect(port, "localhost").await;
    };
    let mut session = Injector::connect(port, address.0.domain()).await?;
    session
        .rehearse(&config.reply.reverse_path, &address.0)
        .await?;
    Ok(session)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn trouble() -> PortTrouble {
        PortTrouble {
            port: SocketAddr::from(([127, 0, 0, 1], 18025)),
            since: Timestamp::UNIX_EPOCH,
            tried_at: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(312),
            is_being_tried: false,
            failures: 3,
            refuses: true,
            trouble: "RCPT: 554 5.7.1 <\u{1b}[2J@b.example>".to_owned(),
        }
    }

    #[test]
    fn each_thing_in_the_way_is_a_warning_that_acts_on_no_terminal() {
        assert_eq!(warnings(&HandOver::default()), [""; 0]);
        let both = HandOver {
            trouble: Some(trouble()),
            refused: 2,
            refusal: Some("552 5.3.4 too big".to_owned()),
        };
        assert_eq!(
            warnings(&both),
            [
                "Postfix's reply port 127.0.0.1:18025 has taken no replies since \
                 1970-01-01T00:00:00Z: RCPT: 554 5.7.1 <\\u{1b}[2J@b.example>",
                "2 replies are kept that Postfix refused; the last: 552 5.3.4 too big"
            ]
        );
    }

    #[test]
    fn a_sentence_says_since_when_and_what_is_next() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(300);
        let said = sentence(&trouble(), now);
        let expected = "Postfix's reply port 127.0.0.1:18025 takes no replies. The trouble began \
             5 min ago: RCPT: 554 5.7.1 <\\u{1b}[2J@b.example>. The next attempt is in 12 s.";
        assert_eq!(said, expected);
        let being_tried = PortTrouble {
            is_being_tried: true,
            ..trouble()
        };
        assert!(sentence(&being_tried, now).ends_with("An attempt is being made now."));
    }
}
