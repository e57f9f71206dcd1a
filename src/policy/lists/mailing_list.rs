//! Fields that list managers and mailing services write. The whole name counts,
//! because people's mail has fields that begin alike. Feedback-ID and the fields of
//! sending services are left out: a program's request by such a service has them too.

use super::field::{FieldEntry, Value};
use super::sender::Role;

/// The rule `mailing-list`.
#[rustfmt::skip]
pub static MAILING_LIST: &[FieldEntry] = &[
    // Documents
    any("List-Id", "RFC 2919"),
    any("List-Help", "RFC 2369"),
    any("List-Unsubscribe", "RFC 2369"),
    any("List-Subscribe", "RFC 2369"),
    any("List-Post", "RFC 2369"),
    any("List-Owner", "RFC 2369"),
    any("List-Archive", "RFC 2369"),
    any("List-Unsubscribe-Post", "RFC 8058"),
    any("Archived-At", "RFC 5064"),
    any("DL-Expansion-History", "RFC 2156, X.400 gateways"),
    // Older kin of the List fields
    any("List-Software", "LetterRip, ListManager"),
    any("List-Digest", "LetterRip"),
    any("List-Name", "mailing services"),
    any("List-URL", "older than RFC 2369"),
    any("X-List-Id", "older than RFC 2919"),
    any("X-List-Unsubscribe", "mailing services"),
    any("X-List-Subscribe", "mailing services"),
    any("X-List-Help", "mailing services"),
    any("X-List-Owner", "mailing services"),
    any("X-List-Archive", "mailing services"),
    any("X-List-Post", "mailing services"),
    any("X-List-Name", "Majordomo"),
    any("X-List-Manager", "Majordomo"),
    any("X-List-Host", "mailing services"),
    any("X-List", "Ecartis"),
    any("X-List-Administrivia", "Mailman 2"),
    any("X-Unsubscribe", "mailing services"),
    // List managers
    any("Mailing-List", "ezmlm, Yahoo Groups, Google Groups, groups.io"),
    any("X-Mailing-List", "SmartList, Majordomo of vger, Debian"),
    any("X-BeenThere", "Mailman 2, Google Groups"),
    any("X-Mailman-Version", "Mailman 2 and 3"),
    any("X-Mailman-Rule-Hits", "Mailman 3"),
    any("X-Mailman-Rule-Misses", "Mailman 3"),
    any("X-Mailman-Approved-At", "Mailman 2"),
    any("X-Message-ID-Hash", "Mailman 3"),
    any("Message-ID-Hash", "Mailman 3"),
    any("X-MDMailing-List", "MDaemon"),
    any("X-Listserver", "CommuniGate Pro LIST"),
    any("X-Listprocessor-Version", "ListProcessor"),
    any("X-Ecartis-Version", "Ecartis"),
    any("X-Listar-Version", "Listar"),
    any("X-ML-Name", "fml"),
    any("X-ML-Info", "fml"),
    any("X-ML-Count", "QuickML"),
    any("X-MLServer", "fml"),
    any("X-Mail-Count", "fml"),
    any("X-Lyris-Message-Id", "Lyris ListManager"),
    any("X-Lyris-Type", "Lyris ListManager"),
    any("X-ListMember", "phpList"),
    FieldEntry {
        field: "Delivered-To",
        value: Value::Begins(&["mailing", "list"]),
        source: "ezmlm",
    },
    FieldEntry {
        field: "Sender",
        value: Value::Address(Role::ListManager),
        source: "RFC 3834 2; Majordomo, SmartList, Mailman 2",
    },
    FieldEntry {
        field: "Errors-To",
        value: Value::Address(Role::ListManager),
        source: "Mailman 2, Majordomo, Sympa",
    },
    FieldEntry {
        field: "Resent-Sender",
        value: Value::Address(Role::ListManager),
        source: "SmartList",
    },
    // Groups of mail services
    any("X-Google-Group-Id", "Google Groups"),
    any("X-Google-Groups", "Google Groups"),
    any("X-Google-Loop", "Google Groups"),
    any("X-Groupsio-MsgNum", "groups.io"),
    any("X-eGroups-From", "Yahoo Groups"),
    any("X-eGroups-Return", "Yahoo Groups"),
    any("X-eGroups-Approved-By", "Yahoo Groups"),
    any("X-Topica-Id", "Topica"),
    any("X-Keenlist-Info", "Keenlist"),
    any("X-MS-Exchange-GroupMailbox-Id", "Microsoft 365 groups"),
    FieldEntry {
        field: "X-Yahoo-Newman-Property",
        value: Value::Begins(&["groups-email"]),
        source: "Yahoo Groups",
    },
    // Bulk
    any("X-BulkMail", "mailing services"),
    any("X-Campaign", "Mailchimp"),
    any("X-Campaign-Id", "mailing services"),
    any("X-CampaignId", "mailing services"),
    any("X-MC-User", "Mailchimp"),
    any("X-Mailin-Campaign", "Brevo's newsletters"),
    any("X-Roving-Id", "Constant Contact"),
    any("X-Roving-CampaignId", "Constant Contact"),
    any("X-EMV-CampagneId", "Emailvision"),
    FieldEntry {
        field: "X-Distribution",
        value: Value::Word("bulk"),
        source: "Pegasus Mail, to more than 50 recipients",
    },
    FieldEntry {
        field: "X-Distribution",
        value: Value::Word("mass"),
        source: "Pegasus Mail, to more than 100 recipients",
    },
];

const fn any(field: &'static str, source: &'static str) -> FieldEntry {
    FieldEntry {
        field,
        value: Value::Any,
        source,
    }
}
