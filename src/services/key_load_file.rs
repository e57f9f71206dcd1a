//! Get Key Load File (STS Edition 2) service (5.1.4). Takes the VKLOADREQ from
//! the body and puts it to the key management system. Gives each refusal its
//! code.

use super::call::{Answer, Call, ServiceError};
use crate::{
    kms::{Grant, Issue, IssueQuestion, Refusal},
    mail::{Body, ErrorCode, Outcome, ReplyAttachment},
    sts::{RecordError, StsTime, VkloadReq, file, single_in_mail},
};

pub(super) async fn answer(call: Call<'_>) -> Result<Answer, ServiceError> {
    let question = match question(&call) {
        Ok(question) => question,
        Err(error) => return Ok(record_error(&error)),
    };
    let answer = match call.kms.issue(&question).await? {
        Issue::Granted(grant) => granted(&question, *grant),
        Issue::Refused(refusal) => refused(&refusal),
    };
    Ok(Answer {
        smid: Some(question.request.smid),
        ..answer
    })
}

pub(super) async fn foretell(call: Call<'_>) -> Result<Outcome, ServiceError> {
    let question = match question(&call) {
        Ok(question) => question,
        Err(error) => return Ok(record_error(&error).outcome),
    };
    Ok(match call.kms.foretell(&question).await? {
        Some(refusal) => refused(&refusal).outcome,
        None => Outcome::success(),
    })
}

fn question(call: &Call<'_>) -> Result<IssueQuestion, RecordError> {
    let body = match &call.request.body {
        Body::Plain(text) => text.as_str(),
        Body::NotPlain => "",
    };
    Ok(IssueQuestion {
        request_id: *call.id,
        request: single_in_mail::<VkloadReq>(body)?,
        accepted_at: call.accepted_at,
        now: call.now,
    })
}

fn granted(question: &IssueQuestion, grant: Grant) -> Answer {
    let smid = &question.request.smid;
    let count = grant.keys.len();
    let mut body = format!(
        "The operation completed successfully.\n\n\
         The attached Key Load File has {count} vending key{} for the security module\n{smid}:\n\n",
        if count == 1 { "" } else { "s" },
    );
    for (sgc, krn) in &grant.keys {
        body.push_str(&format!("  Supply group {sgc}, key revision {krn}\n"));
    }
    body.push_str("\nLoad the file into this module. No other module can open it.\n");
    let detail = grant
        .keys
        .iter()
        .map(|(sgc, krn)| format!("{sgc}/{krn}"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut answer = Answer::success(body);
    answer.text.attachment = Some(ReplyAttachment {
        name: file_name(question),
        content: file::write(&grant.key_load_file).into_bytes(),
    });
    answer.effects = grant.effects;
    answer.detail = Some(format!("{smid} {detail}"));
    answer
}

/// The module's name and the time of its request. Every file system accepts
/// their characters.
fn file_name(question: &IssueQuestion) -> String {
    format!(
        "KLF_{}_{}.txt",
        question.request.smid.name(),
        question.request.time
    )
}

fn refused(refusal: &Refusal) -> Answer {
    let error = |code, parameters| Answer::error(code, None, parameters);
    let time = |now: &StsTime| vec![now.to_string()];
    match refusal {
        Refusal::Expired { now } => error(ErrorCode::VkloadExpired, time(now)),
        Refusal::Future { now } => error(ErrorCode::VkloadFuture, time(now)),
        Refusal::Kmc { current } => error(ErrorCode::VkloadKmc, vec![current.to_string()]),
        Refusal::Authentication(failure) => Answer {
            detail: Some(failure.to_string()),
            ..error(ErrorCode::VkloadAuthentication, Vec::new())
        },
        Refusal::PublicKey(problem) => Answer::error(
            ErrorCode::VkloadPublicKey,
            Some(format!(
                "The public key in the VKLOADREQ is not a valid point: {problem}"
            )),
            Vec::new(),
        ),
        Refusal::Replayed => error(ErrorCode::VkloadReplayed, Vec::new()),
        Refusal::NoVendingKeys => error(ErrorCode::NoVendingKeys, Vec::new()),
        // The code fits, as the module may have no keys now. The remedy for
        // this cause is different.
        Refusal::Limit { until } => Answer {
            detail: Some(refusal.to_string()),
            ..Answer::error_described(
                ErrorCode::NoVendingKeys,
                format!(
                    "The security module has received as many Key Load Files as it may have \
                     for now; generate a fresh VKLOADREQ at {until} or later"
                ),
                time(until),
            )
        },
    }
}

fn record_error(error: &RecordError) -> Answer {
    let mut parameters = Vec::new();
    let code = match error {
        RecordError::Missing { .. } => ErrorCode::RecordMissing,
        RecordError::Multiple { .. } => ErrorCode::RecordMultiple,
        RecordError::Quoted { .. } => ErrorCode::RecordQuoted,
        RecordError::Format { .. } => ErrorCode::RecordFormat,
        RecordError::Crc {
            stated, computed, ..
        } => {
            parameters.extend([stated.to_string(), computed.to_string()]);
            ErrorCode::RecordCrc
        }
    };
    Answer::error(code, Some(error.to_string()), parameters)
}
