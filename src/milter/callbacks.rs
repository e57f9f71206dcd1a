//! Connects indymilter's callbacks with a [`Session`]: decodes Postfix's packets,
//! negotiates only the stages that are needed, and turns answers into milter
//! replies. Decides nothing about mail.

use std::{
    ffi::{CStr, CString},
    future::Future,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::FutureExt;
use indymilter::{
    ActionError, Actions, Callbacks, Context, ContextActions, EomContext, MacroStage, Macros,
    NegotiateContext, ProtoOpts, SetErrorReply, SocketInfo, Status,
};

use super::{
    answer::{Answer, SmtpReply},
    connections::{Connection, Stage},
    intake::NO_QUEUE_ID,
    session::{Gateway, Session},
};
use crate::measures::{FoundAtFault, PANICS};

/// The state of one connection, which indymilter passes from callback to callback.
pub(super) struct Carried {
    options: ProtoOpts,
    session: Option<Session>,
    connection: Arc<Connection>,
}

impl Carried {
    /// Reports the session's stage to the connection.
    fn note(&self) {
        if let Some(session) = &self.session {
            self.connection.is_at(session.stage());
        }
    }
}

/// Stages that the gateway never needs.
const UNNEEDED: ProtoOpts = ProtoOpts::NO_UNKNOWN;

/// Stages that get no answer, which saves Postfix a round trip each.
///
/// RCPT and DATA are answered: without the stage DATA Nagle's algorithm waits for a
/// delayed acknowledgement. The gateway requests the end of the header although it
/// does nothing then. Without it indymilter, like libmilter, drops the body of a message
/// that has no header field. Postfix would then wait in vain for an answer.
const UNANSWERED: ProtoOpts = ProtoOpts::NOREPLY_CONNECT
    .union(ProtoOpts::NOREPLY_HELO)
    .union(ProtoOpts::NOREPLY_MAIL)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::NOREPLY_EOH)
    .union(ProtoOpts::NOREPLY_BODY);

/// The macros that the gateway reads, by stage. Postfix sends no others.
const MACROS: [(MacroStage, &CStr); 7] = [
    (MacroStage::Connect, c"{daemon_name} j"),
    (MacroStage::Helo, c""),
    (MacroStage::Mail, c"{auth_authen}"),
    (MacroStage::Rcpt, c"{rcpt_addr} i"),
    (MacroStage::Data, c""),
    (MacroStage::Eoh, c""),
    (MacroStage::Eom, c"i"),
];

/// The callbacks of the gateway's milter for one connection.
pub(super) fn callbacks(gateway: Arc<Gateway>, connection: &Arc<Connection>) -> Callbacks<Carried> {
    let connection = connection.clone();
    Callbacks::new()
        .on_negotiate(move |cx, actions, options| {
            let connection = connection.clone();
            Box::pin(async move { negotiate(cx, connection, actions, options) })
        })
        .on_connect(move |cx, _, socket| {
            let gateway = gateway.clone();
            Box::pin(guarded(async move { connect(cx, gateway, &socket) }))
        })
        .on_helo(|cx, name| {
            Box::pin(guarded(async move {
                take(cx, ProtoOpts::NOREPLY_HELO, |session| {
                    session.helo(&name.to_string_lossy());
                })
            }))
        })
        .on_mail(|cx, arguments| Box::pin(guarded(async move { mail(cx, arguments) })))
        .on_rcpt(|cx, arguments| Box::pin(guarded(recipient(cx, arguments))))
        .on_data(|cx| Box::pin(guarded(async move { data(cx) })))
        .on_header(|cx, name, value| {
            Box::pin(guarded(async move {
                take(cx, ProtoOpts::NOREPLY_HEADER, |session| {
                    session.header(name.to_bytes(), value.to_bytes());
                })
            }))
        })
        .on_eoh(|cx| {
            Box::pin(guarded(
                async move { take(cx, ProtoOpts::NOREPLY_EOH, |_| {}) },
            ))
        })
        .on_body(|cx, piece| {
            Box::pin(guarded(async move {
                take(cx, ProtoOpts::NOREPLY_BODY, |session| session.body(&piece))
            }))
        })
        .on_eom(|cx| Box::pin(guarded(end_of_message(cx))))
        .on_abort(|cx| {
            Box::pin(guarded(async move {
                take(cx, ProtoOpts::empty(), Session::abort);
                Status::Continue
            }))
        })
}

/// Turns a panic into a temporary failure of one message. Without this, indymilter
/// would drop the connection without an answer.
async fn guarded(callback: impl Future<Output = Status>) -> Status {
    AssertUnwindSafe(callback)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("a milter callback panicked; this is a fault of the gateway");
            PANICS.at(FoundAtFault::Milter).increment(1);
            Status::Tempfail
        })
}

fn negotiate(
    cx: &mut NegotiateContext<Carried>,
    connection: Arc<Connection>,
    actions: Actions,
    offered: ProtoOpts,
) -> Status {
    let wished = UNNEEDED | UNANSWERED | ProtoOpts::LEADING_SPACE;
    let options = wished & offered;
    cx.requested_opts = options;
    cx.requested_actions = Actions::DELETE_RCPT & actions;
    cx.requested_macros = MACROS
        .into_iter()
        .map(|(stage, names)| (stage, names.to_owned()))
        .collect();
    if cx.requested_actions.is_empty() {
        tracing::warn!(
            "this MTA does not let a milter delete recipients; check that it is Postfix"
        );
    }
    connection.is_at(Stage::BetweenMessages);
    cx.data = Some(Carried {
        options,
        session: None,
        connection,
    });
    Status::Continue
}

/// Runs a stage that needs no answer. Postfix gets one only if `unanswered` was not
/// negotiated.
fn take(
    cx: &mut Context<Carried>,
    unanswered: ProtoOpts,
    act: impl FnOnce(&mut Session),
) -> Status {
    let Some(carried) = &mut cx.data else {
        return Status::Continue;
    };
    if let Some(session) = &mut carried.session {
        act(session);
    }
    carried.note();
    match carried.options.contains(unanswered) {
        true => Status::Noreply,
        false => Status::Continue,
    }
}

/// Runs a stage that may take long. The connection is not ended meanwhile.
async fn at_work(carried: &mut Carried, act: impl AsyncFnOnce(&mut Session) -> Answer) -> Answer {
    let Some(session) = &mut carried.session else {
        return Answer::Continue;
    };
    carried.connection.is_at(Stage::AtWork);
    let answer = act(session).await;
    carried.note();
    answer
}

fn connect(cx: &mut Context<Carried>, gateway: Arc<Gateway>, socket: &SocketInfo) -> Status {
    let daemon_name = macro_text(&cx.macros, c"{daemon_name}").unwrap_or_default();
    let host = macro_text(&cx.macros, c"j").unwrap_or_default();
    let session = Session::new(gateway, &daemon_name, host, client_address(socket));
    let Some(carried) = &mut cx.data else {
        return Status::Tempfail;
    };
    carried.session = Some(session);
    take(cx, ProtoOpts::NOREPLY_CONNECT, |_| {})
}

/// The client's address. An IPv4 address mapped into IPv6 becomes IPv4.
fn client_address(socket: &SocketInfo) -> Option<IpAddr> {
    match socket {
        SocketInfo::Inet(address) => Some(address.ip().to_canonical()),
        SocketInfo::Unix(_) | SocketInfo::Unknown => None,
    }
}

fn mail(cx: &mut Context<Carried>, arguments: Vec<CString>) -> Status {
    let authenticated =
        macro_text(&cx.macros, c"{auth_authen}").is_some_and(|name| !name.is_empty());
    // A simulated session (sendmail(1) with non_smtpd_milters) may send no argument.
    let reverse_path = first_text(&arguments);
    take(cx, ProtoOpts::NOREPLY_MAIL, |session| {
        session.mail(reverse_path, authenticated);
    })
}

async fn recipient(cx: &mut Context<Carried>, arguments: Vec<CString>) -> Status {
    let normal_form = macro_text(&cx.macros, c"{rcpt_addr}");
    // Postfix names a message when it accepts the first recipient. Its own log
    // writes NOQUEUE for a message without a name.
    let queue_id = macro_text(&cx.macros, c"i").unwrap_or_else(|| "NOQUEUE".to_owned());
    let answer = match (cx.data.as_mut(), arguments.into_iter().next()) {
        (Some(carried), Some(argument)) => {
            at_work(carried, async |session| {
                session
                    .recipient(argument, normal_form.as_deref(), &queue_id)
                    .await
            })
            .await
        }
        _ => Answer::Continue,
    };
    reply(&mut cx.reply, answer)
}

fn data(cx: &mut Context<Carried>) -> Status {
    let mut answer = Answer::Continue;
    take(cx, ProtoOpts::empty(), |session| answer = session.data());
    reply(&mut cx.reply, answer)
}

async fn end_of_message(cx: &mut EomContext<Carried>) -> Status {
    let queue_id = macro_text(&cx.macros, c"i").unwrap_or_else(|| NO_QUEUE_ID.to_owned());
    let answer = match cx.data.as_mut() {
        Some(carried) => {
            at_work(carried, async |session| {
                session.end_of_message(&queue_id).await
            })
            .await
        }
        None => Answer::Continue,
    };
    match answer {
        Answer::DeleteRecipients(recipients) => match delete(cx, recipients).await {
            Ok(()) => Status::Continue,
            Err(error) => {
                tracing::error!(queue_id, %error, "can't delete the gateway's recipients");
                Status::Tempfail
            }
        },
        answer => reply(&mut cx.reply, answer),
    }
}

async fn delete(cx: &EomContext<Carried>, recipients: Vec<CString>) -> Result<(), ActionError> {
    for recipient in recipients {
        cx.actions.delete_recipient(recipient).await?;
    }
    Ok(())
}

fn reply(reply: &mut impl SetErrorReply, answer: Answer) -> Status {
    let (status, text) = match answer {
        Answer::Continue | Answer::DeleteRecipients(_) => return Status::Continue,
        Answer::NotOurs => return Status::Accept,
        Answer::Discard => return Status::Discard,
        Answer::Reject(text) => (Status::Reject, text),
        Answer::Tempfail(text) => (Status::Tempfail, text),
    };
    let SmtpReply {
        code,
        enhanced,
        text,
    } = text;
    if let Err(error) = reply.set_error_reply(code, Some(enhanced), [text]) {
        tracing::warn!(%error, code, enhanced, "indymilter refused the reply text; Postfix sends its own text");
    }
    status
}

fn macro_text(macros: &Macros, name: &CStr) -> Option<String> {
    macros
        .get(name)
        .map(|value| value.to_string_lossy().into_owned())
}

fn first_text(arguments: &[CString]) -> String {
    arguments
        .first()
        .map(|argument| argument.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_temporary_failure() {
        let status = guarded(async { panic!("a fault") }).await;
        assert_eq!(status, Status::Tempfail);
        assert_eq!(guarded(async { Status::Discard }).await, Status::Discard);
    }
}
