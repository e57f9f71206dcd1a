//! Help service (5.1.2): plain instructions for people who have never seen the
//! gateway. The text is made from the tables of services and codes, and from
//! the limits of this installation. A request that may be forged gets a short
//! text only.

use super::call::{Answer, Call, HelpTexts, Installation, Limits, Service};
use crate::mail::{Concern, RESULT_CODES, ResultCode, ServiceCode, wrap_prose};

/// The standard's example of a request (5.1.4.4).
const EXAMPLE: &str = "\
-----STS:VKLOAD.REQ.1 BEGINS-----
VKLOAD.REQ.1|SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB
47EA:2642|KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:
6850|20200622T144047Z|Prism-TSM250-1|STS65V10|043771530383BB4B75
70ED7019FB15DAE1A303E249CF8B51734136CFB58B2B6895D0E2202A6140FE2E
38ED65178372E29CE0959436A13CC08D96E1C849BF5BE8B0FB198B5577CF24AC
0A73A71FA759DB202A933CEA9A0B9523DCACBDD91CC40500|38D1405FE3AB906
524921F159B7FCC4B7104906B824DA80E|FB39
-----STS:VKLOAD.REQ.1 ENDS-----
";

pub(super) fn answer(call: &Call<'_>, services: &[Service]) -> Answer {
    let text = text(call.installation, services, call.may_be_forged);
    Answer::success(text.to_owned())
}

/// The text for `installation`. The installation keeps it, so that it is written once.
fn text<'a>(installation: &'a Installation, services: &[Service], may_be_forged: bool) -> &'a str {
    let HelpTexts { short, full } = &installation.help;
    match may_be_forged {
        true => short.get_or_init(|| beginning(installation, services)),
        false => full.get_or_init(|| instructions(installation, services)),
    }
}

/// The short text, just enough for a first request. Anybody can have it sent to
/// anybody.
fn beginning(installation: &Installation, services: &[Service]) -> String {
    let services: String = services
        .iter()
        .map(|service| format!("  {}\n    {}\n", service.code, service.brief))
        .collect();
    let postmaster = installation
        .addresses
        .first()
        .map(|address| format!(" You can also ask postmaster@{}.", address.domain()))
        .unwrap_or_default();
    wrap_prose(&format!(
        "{}\nServices:\n\n{services}\nIf you did not ask for this, somebody used your address. You \
         don't need to do anything. You get the full instructions once your mail is authenticated \
         (SPF or DKIM), or once a security module of yours has received its first Key Load \
         File.{postmaster}\n",
        what_to_do(installation),
    ))
}

/// The full text for `installation`, wrapped for mail.
fn instructions(installation: &Installation, services: &[Service]) -> String {
    let limits = &installation.limits;
    let sections = [
        (
            "INSTRUCTIONS FOR THE KMS E-MAIL GATEWAY",
            what_to_do(installation),
        ),
        ("AN EXAMPLE", example(installation)),
        ("SERVICES", list_of(services)),
        ("THE ANSWER", the_answer(limits)),
        ("LIMITS", limits_in_words(limits)),
        ("IF NO ANSWER COMES", no_answer(installation)),
        ("CODES", codes()),
    ];
    let text: Vec<String> = sections
        .iter()
        .map(|(title, body)| format!("{title}\n\n{}\n", body.trim_end()))
        .collect();
    wrap_prose(&text.join("\n"))
}

fn what_to_do(installation: &Installation) -> String {
    let addresses: Vec<String> = installation
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    format!(
        "A program answers the mail to this address. No person reads it. To ask for something:\n\n\
         1. Write a new message in plain text, not in HTML.\n\
         2. Put {} in To. Cc and Bcc do not count.\n\
         3. Begin the Subject with the code of a service, such as {}.\n\
         4. Put into the message what the service needs, if anything.\n\
         5. Send it once and wait. The answer usually comes within 10 minutes.\n",
        addresses.join(" or "),
        ServiceCode::GetPublicKey,
    )
}

fn example(installation: &Installation) -> String {
    let address = installation.addresses.first();
    let address = address.map(ToString::to_string).unwrap_or_default();
    let record: String = EXAMPLE.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "This message asks for the Key Load File of a security module. The module made the record \
         and its BEGINS and ENDS lines. You may write any text after the code in the Subject. The \
         answer repeats it.\n\n\
         \x20 To: {address}\n\
         \x20 Subject: {} order 17\n\n\
         {record}\n\
         \x20 Regards, User\n",
        ServiceCode::GetKlfStsEd2,
    )
}

fn list_of(services: &[Service]) -> String {
    services
        .iter()
        .map(|service| {
            format!(
                "{}\n  {}.\n  You send: {}\n  You get: {}\n\n",
                service.code, service.function, service.request, service.response,
            )
        })
        .collect()
}

fn the_answer(limits: &Limits) -> String {
    format!(
        "The Subject of the answer is \"Auto: \" and your Subject. The text states the result. If you \
         asked for a Key Load File, it is attached with a name that ends in .txt. Programs find the result in the \
         header X-Gateway-Result, as a list separated by tabs:\n\n\
         - Success, and a summary. This answer is final.\n\
         - Error, a code, and what to do. This answer is final.\n\
         - Notice, a code, and what to do. The final answer comes later.\n\n\
         If you have to wait for more than {}, a notice says so. The answer goes to Reply-To, or \
         to the first address in From if there is no Reply-To. If Reply-To has many \
         addresses, the first {} are answered. Set up your mail filter to accept mail from this \
         gateway, as it looks like automatic mail.\n",
        limits.notice_after, limits.targets,
    )
}

fn limits_in_words(limits: &Limits) -> String {
    format!(
        "- A message may have at most {message}, and at most {extra} of attachments that the service \
         does not need.\n\
         - A VKLOADREQ can be used once. When it arrives, it may be at most {age} old, and its time \
         at most {ahead} ahead.\n\
         - A security module gets at most {issues} Key Load Files in {issues_within}.\n\
         - The gateway answers {at_once} requests of one sender at once, and then one each {every}. \
         The others wait for their turn. If you send more than {above} you are blocked for \
         {block_for}.\n\
         - If something is out of order, the gateway keeps a request and tries again for {give_up}.\n",
        message = size(limits.message_bytes),
        extra = size(limits.unexpected_attachment_bytes),
        age = limits.age,
        ahead = limits.ahead,
        issues = limits.issues,
        issues_within = limits.issues_within,
        at_once = limits.at_once,
        every = limits.every,
        above = limits.block_above,
        block_for = limits.block_for,
        give_up = limits.give_up,
    )
}

/// Bytes in the largest unit that has no fraction.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 2] = [(1024 * 1024, "MiB"), (1024, "KiB")];
    UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, name)| format!("{} {name}", bytes / unit),
        )
}

fn no_answer(installation: &Installation) -> String {
    let mut text =
        "Look into your junk mail first. The gateway does not answer a message if one of \
         these is true:\n\n"
            .to_owned();
    for cause in &installation.unanswered {
        text.push_str(&format!("- {cause}\n"));
    }
    text
}

fn codes() -> String {
    Concern::ALL
        .iter()
        .map(|concern| {
            let rows = RESULT_CODES.iter().filter(|row| row.concern == *concern);
            let entries: String = rows.map(entry).collect();
            format!("{}\n\n{entries}", concern.title())
        })
        .collect()
}

fn entry(row: &ResultCode) -> String {
    format!(
        "  {}: {}.\n    Why: {}.\n    What to do: {}.\n\n",
        row.code,
        row.meaning,
        row.cause,
        capitalised(row.remedy),
    )
}

/// A remedy with a capital letter at its start.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        mail::Address,
        services::SERVICES,
        sts::{VkloadReq, single_in_mail},
    };

    fn installation() -> Installation {
        Installation {
            addresses: ["gateway@kms.example.org", "kms@example.org"]
                .map(|address| Address::parse(address).unwrap())
                .to_vec(),
            limits: Limits {
                message_bytes: 3 << 20,
                unexpected_attachment_bytes: 7 << 10,
                targets: 11,
                age: "13 hours".to_owned(),
                ahead: "17 minutes".to_owned(),
                issues: 1900,
                issues_within: "23 hours".to_owned(),
                at_once: 29,
                every: "31 seconds".to_owned(),
                block_above: 37,
                block_for: "41 minutes".to_owned(),
                notice_after: "43 minutes".to_owned(),
                give_up: "47 days".to_owned(),
            },
            unanswered: vec!["It was written on a Sunday."],
            stsa_addresses: Vec::new(),
            help: HelpTexts::default(),
        }
    }

    #[test]
    fn each_text_is_written_once_for_an_installation() {
        let installation = installation();
        let text = |may_be_forged| text(&installation, &SERVICES, may_be_forged);
        assert_eq!(text(true), beginning(&installation, &SERVICES));
        assert_eq!(text(false), instructions(&installation, &SERVICES));
        for may_be_forged in [true, false] {
            assert_eq!(text(may_be_forged).as_ptr(), text(may_be_forged).as_ptr());
        }
    }

    #[test]
    fn the_beginning_is_short_and_says_how_to_get_the_rest() {
        let text = beginning(&installation(), &SERVICES);
        assert!(text.len() <= 1200, "{} bytes: {text}", text.len());
        for line in text.lines() {
            assert!(line.len() <= 72 && line.is_ascii(), "{line}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "in To",
            "postmaster@kms.example.org",
            "once your mail is authenticated",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        for service in &SERVICES {
            assert!(words.contains(&service.code.to_string()));
        }
    }

    /// The text in one line, so that line breaks do not matter.
    fn unwrapped() -> String {
        let text = instructions(&installation(), &SERVICES);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn any_mail_program_shows_it_as_it_is() {
        for line in instructions(&installation(), &SERVICES).lines() {
            assert!(line.len() <= 72, "{line}");
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{line}"
            );
            assert!(!line.contains(['<', '>']), "{line}");
        }
    }

    #[test]
    fn it_has_every_service_and_every_code_with_cause_and_remedy() {
        let text = unwrapped();
        let services = SERVICES.iter().map(|service| service.code.to_string());
        let codes = RESULT_CODES.iter().flat_map(|row| {
            let heading = format!("{}: {}.", row.code, row.meaning);
            let advice = capitalised(row.remedy);
            [
                heading,
                row.cause.to_owned(),
                format!("What to do: {advice}."),
            ]
        });
        for part in services.chain(codes) {
            assert!(text.contains(&part), "{part}");
        }
    }

    #[test]
    fn it_has_what_holds_for_this_installation() {
        let text = unwrapped();
        for part in [
            "gateway@kms.example.org or kms@example.org",
            "at most 3 MiB",
            "at most 7 KiB of attachments",
            "the first 11 are",
            "at most 13 hours old",
            "at most 17 minutes ahead",
            "1900 Key Load Files in 23 hours",
            "29 requests",
            "each 31 seconds",
            "more than 37 you are blocked for 41 minutes",
            "more than 43 minutes, a notice",
            "for 47 days",
            "- It was written on a Sunday.",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn the_example_is_a_request() {
        let text = example(&installation());
        let request: VkloadReq = single_in_mail(&text).unwrap();
        assert_eq!(request.smid.name().to_string(), "94000304");
    }

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        let sizes = [0, 1000, 1024, 1536, 2 << 20].map(size);
        assert_eq!(
            sizes,
            ["0 bytes", "1000 bytes", "1 KiB", "1536 bytes", "2 MiB"]
        );
    }
}
