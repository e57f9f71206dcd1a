//! Determines the sender of a request, for the throttle. Asks the key management system
//! whether a module made the request. Knows no bucket.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{
    kms::Kms,
    mail::{Address, Body, Request, ReversePath, ServiceCode},
    policy::Sender,
    sts::{VkloadReq, single_in_mail},
};

/// The way by which a request came.
pub(super) struct Origin<'a> {
    /// The client that sent it to the site's own Postfix.
    pub(super) client: Option<IpAddr>,
    /// The client logged in (SASL).
    pub(super) is_logged_in: bool,
    /// The client is one of the site's own.
    pub(super) is_trusted: bool,
    /// The author's address, if its domain authenticated the message.
    pub(super) authenticated: Option<Address>,
    pub(super) reverse_path: &'a ReversePath,
}

/// The sender of this request; none if it has no reply target.
pub(super) async fn sender_of(
    request: &Request,
    origin: Origin<'_>,
    kms: &dyn Kms,
    now: Timestamp,
) -> Option<Sender> {
    if let Some(smid) = module(request, kms, now).await {
        return Some(Sender::Module(smid));
    }
    // smtpd_sender_login_maps restricts the reverse paths of a login.
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

/// The module that made the request, by its MAC. If the key management system can't be
/// asked, the module only loses its preference.
async fn module(request: &Request, kms: &dyn Kms, now: Timestamp) -> Option<String> {
    let (ServiceCode::GetKlfStsEd2, Body::Plain(body)) = (&request.code, &request.body) else {
        return None;
    };
    let record = single_in_mail::<VkloadReq>(body).ok()?;
    match kms.is_from_module(&record, now).await {
        Ok(authentic) => authentic.then(|| record.smid.to_string()),
        Err(error) => {
            tracing::warn!(%error, "can't verify whether a module made this request; it counts as from an unknown sender");
            None
        }
    }
}
