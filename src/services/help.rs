//! Help service (5.1.2): plain instructions, written from the tables of
//! services and codes and from the limits of this installation.

use super::{Answer, Call, Installation, SERVICES};
use crate::mail::{RESULT_CODES, wrap_prose};

pub(super) fn answer(call: &Call<'_>) -> Answer {
    Answer::success(instructions(call.installation))
}

/// The text for `installation`, wrapped for mail.
fn instructions(installation: &Installation) -> String {
    let mut text = format!(
        "KMS e-mail gateway: instructions\n\
         ================================\n\n\
         Send a message in plain text to {}, with the gateway's address in the To field \
         and a service code at the start of the Subject. What follows the code in the Subject is \
         yours: it comes back in the reply, so that you can match the two.\n\n\
         Services\n--------\n\n",
        addresses(installation),
    );
    for service in &SERVICES {
        text.push_str(&format!(
            "{}\n{}.\nTo send: {}\nYou get: {}\n\n",
            service.code, service.function, service.request, service.response,
        ));
    }
    text.push_str(&rules(installation));
    text.push_str(&codes());
    wrap_prose(&text)
}

fn addresses(installation: &Installation) -> String {
    installation
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

fn rules(installation: &Installation) -> String {
    format!(
        "What to know\n------------\n\n\
         - Use \"Plain Text\" format. HTML alone is refused.\n\
         - Mail that has the gateway only in Cc or Bcc, replies, forwards, automatic answers and \
         mail from lists are ignored without a word.\n\
         - An attachment must be text/plain; a file name that ends in .txt does that in most mail \
         programs. Attachments that a service does not ask for make your message be ignored, and so \
         does a message of more than {} KiB.\n\
         - A VKLOADREQ may be at most {} old and serves once: make a new one for each request.\n\
         - Do not flood the gateway, or it will defer or block you.\n\
         - A reply usually comes within minutes. Its Subject is \"Auto: \" and yours.\n\n",
        installation.max_message_bytes / 1024,
        installation.max_age,
    )
}

fn codes() -> String {
    let mut text =
        "Codes in the header X-Gateway-Result\n------------------------------------\n\n".to_owned();
    for entry in RESULT_CODES {
        text.push_str(&format!("{}: {}\n\n", entry.code, entry.description()));
    }
    text
}
