//! Send an update file to the KMC (5.1.1), reserved for the STSA. The file is a
//! text/plain attachment (8.2). Only its signature counts: the sender of the
//! message proves nothing.

use super::call::{Answer, Call, ServiceError};
use crate::{
    kms::{Applied, Update, UpdateQuestion, UpdateRefusal},
    mail::{Attachment, ErrorCode},
    sts::SmId,
};

pub(super) async fn answer(call: Call<'_>) -> Result<Answer, ServiceError> {
    let file = match update_file(&call.request.attachments) {
        Ok(file) => file,
        Err(refusal) => return Ok(*refusal),
    };
    let question = UpdateQuestion {
        request_id: *call.id,
        file: file.content.clone(),
        accepted_at: call.accepted_at,
        now: call.now,
    };
    Ok(match call.kms.update(&question).await? {
        Update::Applied(applied) => self::applied(&call, *applied),
        Update::AlreadyApplied { serial } => already_applied(serial),
        Update::Refused(refusal) => refused(&refusal),
    })
}

/// The only declared attachment of type text/plain. Its name doesn't count.
fn update_file(attachments: &[Attachment]) -> Result<&Attachment, Box<Answer>> {
    let refuse = |code, found: Option<String>| Err(Box::new(Answer::error(code, found, vec![])));
    let declared: Vec<&Attachment> = attachments.iter().filter(|own| own.declared).collect();
    let of_text = |own: &&&Attachment| own.content_type == "text/plain";
    let texts: Vec<&&Attachment> = declared.iter().filter(of_text).collect();
    match (texts.as_slice(), declared.first()) {
        ([file], _) => Ok(file),
        ([], None) => refuse(ErrorCode::AttachmentMissing, None),
        ([], Some(other)) => {
            let found = format!("The attachment is {}", printable(&other.content_type));
            refuse(ErrorCode::AttachmentType, Some(found))
        }
        (texts, _) => {
            let found = format!("There are {} text/plain attachments", texts.len());
            refuse(ErrorCode::UpdateFormat, Some(found))
        }
    }
}

/// A media type without characters that a header may not hold.
fn printable(media_type: &str) -> String {
    let graphic = media_type.chars().filter(char::is_ascii_graphic);
    graphic.take(80).collect()
}

/// The list of modules is for the STSA. If anybody else gets the answer too, it
/// states the numbers only.
fn applied(call: &Call<'_>, applied: Applied) -> Answer {
    let Applied {
        serial,
        signer,
        added,
        revoked,
        effects,
    } = applied;
    let (adds, revokes) = (added.len(), revoked.len());
    let mut body = format!(
        "The operation completed successfully.\n\n\
         Update {serial} was applied: {adds} added, {revokes} revoked.\n"
    );
    let stsa = &call.installation.stsa_addresses;
    let is_stsa = |target| stsa.iter().any(|own| own.same_mailbox(target));
    if call.request.targets.iter().all(is_stsa) {
        list(&mut body, "Added", &added);
        list(&mut body, "Revoked", &revoked);
    }
    Answer {
        effects,
        detail: Some(format!(
            "update {serial} by the STSA's key {signer}: {adds} added, {revokes} revoked"
        )),
        ..Answer::success(body)
    }
}

fn list(body: &mut String, title: &str, modules: &[SmId]) {
    if modules.is_empty() {
        return;
    }
    body.push_str(&format!("\n{title}:\n"));
    for smid in modules {
        body.push_str(&format!("  {smid}\n"));
    }
}

fn already_applied(serial: u32) -> Answer {
    Answer {
        detail: Some(format!("update {serial} already applied")),
        ..Answer::success(format!(
            "The operation completed successfully.\n\n\
             Update {serial} was already applied; nothing was changed.\n"
        ))
    }
}

fn refused(refusal: &UpdateRefusal) -> Answer {
    match refusal {
        UpdateRefusal::Format(found) => {
            Answer::error(ErrorCode::UpdateFormat, Some(found.clone()), Vec::new())
        }
        UpdateRefusal::Signature(failure) => Answer {
            detail: Some(failure.to_string()),
            ..Answer::error(ErrorCode::UpdateSignature, None, Vec::new())
        },
        UpdateRefusal::Serial { expected } => {
            Answer::error(ErrorCode::UpdateSerial, None, vec![expected.to_string()])
        }
        UpdateRefusal::Kmc { current } => Answer::error(
            ErrorCode::UpdateFormat,
            Some("The update file was made for another KMC key".to_owned()),
            vec![current.to_string()],
        ),
    }
}
