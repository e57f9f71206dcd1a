//! Finds out who sent a request, for the throttle: asks the key management
//! system whether a module made it. Knows no bucket.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{
    kms::Kms,
    mail::{Address, Body, Request, ReversePath, ServiceCode},
    policy::Sender,
    sts::{VkloadReq, single_in_mail},
};

/// What is known of how a request came.
pub(super) struct Origin<'a> {
    /// Who brought it to our own Postfix.
    pub(super) client: Option<IpAddr>,
    /// The client logged in (SASL).
    pub(super) is_logged_in: bool,
    /// The client is one of the site's own.
    pub(super) is_trusted: bool,
    /// The author's address, where his domain authenticated the message.
    pub(super) authenticated: Option<Address>,
    pub(super) reverse_path: &'a ReversePath,
}

/// Who sent this request.
pub(super) async fn sender_of(
    request: &Request,
    origin: Origin<'_>,
    kms: &dyn Kms,
    now: Timestamp,
) -> Option<Sender> {
    if let Some(smid) = module(request, kms, now).await {
        return Some(Sender::Module(smid));
    }
    // Postfix lets a login send under the addresses that smtpd_sender_login_maps
    // gives it, and those are reverse paths.
    if let (true, Some(address)) = (origin.is_logged_in, origin.reverse_path.address()) {
        return Some(Sender::LoggedIn(address.clone()));
    }
    if let Some(address) = origin.authenticated {
        return Some(Sender::Authenticated(address));
    }
    let target: &Address = request.targets.first()?;
    let client = origin.client;
    Some(Sender::Unknown {
        target: target.clone(),
        network: client.map(Into::into),
        is_foreign: client.is_some_and(|client| !client.is_loopback() && !origin.is_trusted),
        is_trusted: client.is_some() && origin.is_trusted,
    })
}

/// The module whose MAC the request carries. One that can't be asked for now
/// only loses its preference.
async fn module(request: &Request, kms: &dyn Kms, now: Timestamp) -> Option<String> {
    let (ServiceCode::GetKlfStsEd2, Body::Plain(body)) = (&request.code, &request.body) else {
        return None;
    };
    let record = single_in_mail::<VkloadReq>(body).ok()?;
    match kms.is_from_module(&record, now).await {
        Ok(authentic) => authentic.then(|| record.smid.to_string()),
        Err(error) => {
            tracing::warn!(%error, "can't tell whether a module made this request");
            None
        }
    }
}
