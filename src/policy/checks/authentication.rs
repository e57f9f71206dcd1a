//! Whether a message is from whom it says, by the word of the site's own
//! verifiers: SPF, DKIM and DMARC as `Authentication-Results` tell them. Other
//! hosts' fields are not believed. One of the site's own authserv-id that
//! comes from outside is the verifier's to strip (RFC 8601 5): nothing in a
//! message tells who wrote a field. As a second line of defence only the
//! topmost field that speaks of a method counts, since verifiers write theirs
//! on top (RFC 8601 4).

use std::collections::BTreeSet;

use crate::mail::{Address, from_addresses};
use crate::policy::authentication_results::{
    AuthenticationResults, AuthservId, MethodResult, parse,
};
use crate::policy::facts::{Facts, Listener};
use crate::policy::finding::{Finding, Quoted};

/// `sender-authentication`
pub(in crate::policy) fn sender_authentication(facts: &Facts<'_>) -> Option<Finding> {
    let settings = facts.settings;
    let trusted = facts.envelope.listener == Listener::Outer
        // By the internal listener the client is our own Postfix.
        && settings.trusts(&facts.envelope.client);
    if settings.authentication.authserv_ids.is_empty() || trusted {
        return None;
    }
    let said = Said::of(facts);
    if let Some(failure) = said.failure() {
        return Some(Finding::ignore(failure));
    }
    let unproven = settings.authentication.require && author_by(facts, &said).is_none();
    unproven.then(|| Finding::ignore(said.nothing_passed()))
}

/// The author's address, where SPF or DKIM passed for a domain in alignment
/// with it, or DMARC says so.
pub(in crate::policy) fn authenticated_author(facts: &Facts<'_>) -> Option<Address> {
    author_by(facts, &Said::of(facts))
}

fn author_by(facts: &Facts<'_>, said: &Said) -> Option<Address> {
    // With two authors nobody knows whose domain it is that counts (RFC 7489 6.6.1).
    let author = match from_addresses(facts.headers).as_slice() {
        [author] => author.clone(),
        _ => return None,
    };
    said.passes_for(author.domain()).then_some(author)
}

/// What the site's own verifiers say.
struct Said {
    fields: usize,
    results: Vec<MethodResult>,
}

impl Said {
    /// A verifier may strip forged fields of the form that it writes, and leave
    /// those with a job or without one. So the form of the topmost field counts.
    fn of(facts: &Facts<'_>) -> Self {
        let mut said = Said {
            fields: 0,
            results: Vec::new(),
        };
        let fields = own_fields(facts);
        let has_job = fields.first().map(|topmost| topmost.authserv_id.has_job);
        for field in fields {
            if Some(field.authserv_id.has_job) == has_job {
                said.add(field);
            }
        }
        said
    }

    /// Adds what a field says of methods that none above it speaks of.
    fn add(&mut self, field: AuthenticationResults) {
        self.fields += 1;
        let known: BTreeSet<String> = self
            .results
            .iter()
            .map(|result| result.method.clone())
            .collect();
        let new = field.results.into_iter();
        self.results
            .extend(new.filter(|result| !known.contains(&result.method)));
    }

    fn results(&self, method: &'static str) -> impl Iterator<Item = &MethodResult> {
        self.results
            .iter()
            .filter(move |result| result.method == method)
    }

    fn has(&self, method: &'static str, result: &str) -> bool {
        self.results(method).any(|own| own.result == result)
    }

    /// A domain that passes DMARC is its owner's whatever else failed on the
    /// way. SPF's softfail alone is no failure (RFC 7208 8.5); beside a
    /// signature that is broken it is no excuse.
    fn failure(&self) -> Option<String> {
        if self.has("dmarc", "pass") {
            return None;
        }
        if let Some(dmarc) = self.results("dmarc").find(|own| own.result == "fail") {
            let domain = dmarc.property("header.from").unwrap_or_default();
            return Some(format!("DMARC failed for {}", Quoted(domain)));
        }
        let spf =
            !self.has("spf", "pass") && (self.has("spf", "fail") || self.has("spf", "softfail"));
        let dkim = !self.has("dkim", "pass") && self.has("dkim", "fail");
        (spf && dkim).then(|| "SPF and DKIM both failed".to_owned())
    }

    fn passes_for(&self, domain: &str) -> bool {
        let passed = |method| self.results(method).filter(|own| own.result == "pass");
        let dmarc = passed("dmarc").any(|own| {
            own.property("header.from")
                .is_none_or(|from| same_domain(from, domain))
        });
        dmarc
            || passed("spf")
                .filter_map(|own| own.property("smtp.mailfrom"))
                .chain(passed("dkim").filter_map(signing_domain))
                .any(|own| are_aligned(domain_part(own), domain))
    }

    fn nothing_passed(&self) -> String {
        if self.fields == 0 {
            return "there are no Authentication-Results of this site's".to_owned();
        }
        let results: Vec<String> = self
            .results
            .iter()
            .map(|own| format!("{}={}", own.method, own.result))
            .collect();
        format!(
            "neither SPF nor DKIM passed for the author's domain: {}",
            Quoted(&results.join(" "))
        )
    }
}

/// The fields in the name of the site's own verifiers, the topmost first.
fn own_fields(facts: &Facts<'_>) -> Vec<AuthenticationResults> {
    let configured = &facts.settings.authentication.authserv_ids;
    let own_ids: Vec<AuthservId> = configured
        .iter()
        .filter_map(|id| AuthservId::parse(id))
        .collect();
    facts
        .headers
        .get_all("Authentication-Results")
        .filter_map(|header| parse(&header.unfolded()))
        .filter(|field| own_ids.iter().any(|id| id.is_host_of(&field.authserv_id)))
        .collect()
}

/// The domain that signed; older verifiers give the agent's address only.
fn signing_domain(result: &MethodResult) -> Option<&str> {
    result
        .property("header.d")
        .or_else(|| result.property("header.i"))
}

/// A property may be an address or a domain alone.
fn domain_part(value: &str) -> &str {
    value.rsplit_once('@').map_or(value, |(_, domain)| domain)
}

/// Relaxed alignment: the same organizational domain (RFC 7489 3.1, 3.2).
fn are_aligned(own: &str, author: &str) -> bool {
    let own = normal(own);
    own == author
        || match (psl::domain_str(&own), psl::domain_str(author)) {
            (Some(own), Some(author)) => own == author,
            // A public suffix, or no domain name at all.
            _ => false,
        }
}

fn same_domain(own: &str, author: &str) -> bool {
    normal(own) == author
}

/// As [`Address::domain`] has it.
fn normal(domain: &str) -> String {
    let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase());
    ascii.trim_end_matches('.').to_owned()
}
