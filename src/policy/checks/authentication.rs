//! Whether a message is from its author, by the results of SPF, DKIM and DMARC
//! that the site's own verifiers wrote into `Authentication-Results`. Fields of other
//! hosts do not count. The verifier must strip fields from outside that have the
//! site's own authserv-id (RFC 8601 5), because nothing in a message shows
//! its writer. As a second line of defence only the topmost field with a
//! method counts: verifiers write theirs on top (RFC 8601 4).

use std::collections::BTreeSet;

use crate::mail::{Address, from_addresses};
use crate::policy::authentication_results::{
    AuthenticationResults, AuthservId, MethodResult, parse,
};
use crate::policy::facts::{Facts, Listener};
use crate::policy::finding::{Finding, Quoted};

pub(in crate::policy) fn sender_authentication(facts: &Facts<'_>) -> Option<Finding> {
    let settings = facts.settings;
    let trusted = facts.envelope.listener == Listener::Outer
        // On the internal listener the client is our own Postfix.
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

/// The author's address, if SPF or DKIM passed for a domain in alignment with it,
/// or DMARC passed.
pub(in crate::policy) fn authenticated_author(facts: &Facts<'_>) -> Option<Address> {
    author_by(facts, &Said::of(facts))
}

fn author_by(facts: &Facts<'_>, said: &Said) -> Option<Address> {
    // With two authors it is unclear which domain counts (RFC 7489 6.6.1).
    let author = match from_addresses(facts.headers).as_slice() {
        [author] => author.clone(),
        _ => return None,
    };
    said.passes_for(author.domain()).then_some(author)
}

/// The results of the site's own verifiers.
struct Said {
    fields: usize,
    results: Vec<MethodResult>,
}

impl Said {
    /// Only fields of the topmost field's form count: with a job, or without. A
    /// verifier may strip forged fields of its own form and leave those of the other.
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

    /// Adds a field's results for methods that no field above it has.
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

    /// With DMARC passed, nothing else counts as a failure. SPF's softfail alone is
    /// no failure (RFC 7208 8.5), but beside a broken signature it is.
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

/// The fields with the site's own authserv-ids, the topmost first.
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

/// The domain that signed. Older verifiers write only the agent's address.
fn signing_domain(result: &MethodResult) -> Option<&str> {
    result
        .property("header.d")
        .or_else(|| result.property("header.i"))
}

/// The domain of a property, which may be an address or a domain alone.
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

/// The form that [`Address::domain`] has.
fn normal(domain: &str) -> String {
    let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase());
    ascii.trim_end_matches('.').to_owned()
}
