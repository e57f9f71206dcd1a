//! Update files judged by tables in memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::{
    world::{NOW, World, at},
    *,
};
use crate::{
    kms::{
        Curve, ModulesUpdated, PrivateKey, UpdateRefusal,
        administration::new_smid,
        update::{Change, NewUpdate, StsaSigningKey, sign},
    },
    request_id::RequestId,
    sts::{PkEcdh, SmId, file},
};

/// The world's KMC, and an STSA that it trusts.
struct Stsa {
    world: World,
    key: StsaSigningKey,
    ours: PkEcdh,
}

impl Stsa {
    async fn new(curve: Curve) -> Self {
        let mut world = World::new(curve).await;
        let key = StsaSigningKey::new(&PrivateKey::generate(Curve::P384).unwrap()).unwrap();
        let trusted = StsaKey {
            key: key.public().clone(),
            valid_from: "20260101T000000Z".parse().unwrap(),
            valid_until: "20270101T000000Z".parse().unwrap(),
        };
        let kms = EmbeddedKms::new(
            world.tables.clone(),
            world.storage_key(),
            KeyLoadFileSettings::default(),
        );
        world.kms = kms.unwrap().trusting(vec![trusted]);
        let ours = world.kms.public_key(at(NOW)).await.unwrap().record;
        Self { world, key, ours }
    }

    fn file(&self, serial: u32, changes: Vec<Change<'_>>) -> Vec<u8> {
        let point = self.world.kmc_key.public_point();
        let new = NewUpdate {
            kmc_key: &self.ours,
            kmc_point: &point,
            serial,
            time: "20260301T120000Z".parse().unwrap(),
            ephemeral: &PrivateKey::generate(point.curve()).unwrap(),
            changes,
        };
        file::write(&sign(new.build().unwrap(), &self.key)).into_bytes()
    }

    async fn judge(&self, file: Vec<u8>) -> Update {
        let question = UpdateQuestion {
            request_id: RequestId::random().unwrap(),
            file,
            accepted_at: at(NOW),
            now: at(NOW),
        };
        let revision = self.world.tables.content().revision;
        let answer = self.world.kms.update(&question).await.unwrap();
        assert_eq!(self.world.tables.content().revision, revision, "written");
        answer
    }

    async fn applied(&self, file: Vec<u8>) -> ModulesUpdated {
        match self.judge(file).await {
            Update::Applied(applied) => match applied.effects {
                Effects::ModulesUpdated(updated) => updated,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&self, file: Vec<u8>) -> UpdateRefusal {
        match self.judge(file).await {
            Update::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Commits the effects as the store would.
    fn commit(&self, updated: &ModulesUpdated) {
        let mut content = self.world.tables.content();
        for change in &updated.changed {
            content.modules.retain(|row| row.smid != change.row.smid);
            content.modules.push(change.row.clone());
        }
        let serial = (updated.serial, updated.digest);
        content.updates.insert(updated.stsa_key.clone(), serial);
        content.revision += 1;
    }

    fn revoke(&self, smid: &SmId) -> Change<'static> {
        Change::Revoke {
            smid: smid.clone(),
            hardware: "Example-SM1".parse().unwrap(),
        }
    }
}

fn another() -> SmId {
    new_smid("Example".parse().unwrap(), "9001".parse().unwrap(), at(NOW)).unwrap()
}

#[tokio::test]
async fn modules_are_added_replaced_and_revoked_on_both_curves() {
    for curve in [Curve::P384, Curve::P256] {
        let stsa = Stsa::new(curve).await;
        let (known, new) = (stsa.world.smid.clone(), another());
        let (first, second) = (Dak::random().unwrap(), Dak::random().unwrap());
        let add = |smid: &SmId, dak, sgc: &str| Change::Add {
            smid: smid.clone(),
            hardware: "Example-SM2".parse().unwrap(),
            dak,
            sgcs: [sgc.parse().unwrap()].into(),
        };
        let changes = vec![add(&new, &first, "000439"), add(&known, &second, "123456")];
        let updated = stsa.applied(stsa.file(1, changes)).await;
        stsa.commit(&updated);
        let storage_key = stsa.world.storage_key();
        let row = |smid: &SmId| {
            let content = stsa.world.tables.content();
            let found = content.modules.iter().find(|row| row.smid == *smid);
            found.cloned().unwrap()
        };
        for (smid, dak, sgc) in [(&new, &first, "000439"), (&known, &second, "123456")] {
            let row = row(smid);
            assert_eq!(row.state, ModuleState::Active);
            assert_eq!(row.hardware.to_string(), "Example-SM2");
            assert_eq!(row.sgcs, [sgc.parse().unwrap()].into());
            assert_eq!(row.open(&storage_key).unwrap().expose(), dak.expose());
        }

        let updated = stsa.applied(stsa.file(2, vec![stsa.revoke(&known)])).await;
        stsa.commit(&updated);
        assert_eq!(row(&known).state, ModuleState::Revoked);
        // A module that was revoked is active again when it is added.
        let updated = stsa
            .applied(stsa.file(3, vec![add(&known, &first, "000439")]))
            .await;
        assert_eq!(updated.changed[0].row.state, ModuleState::Active);
    }
}

#[tokio::test]
async fn serials_follow_each_other_and_the_same_file_is_known_again() {
    let stsa = Stsa::new(Curve::P384).await;
    let file = stsa.file(1, vec![stsa.revoke(&stsa.world.smid)]);
    let expects = |expected| UpdateRefusal::Serial { expected };
    assert_eq!(stsa.refused(stsa.file(2, vec![])).await, expects(1));
    let updated = stsa.applied(file.clone()).await;
    stsa.commit(&updated);
    let again = stsa.judge(file).await;
    assert!(
        matches!(again, Update::AlreadyApplied { serial: 1 }),
        "{again:?}"
    );
    // The same serial with other content.
    assert_eq!(stsa.refused(stsa.file(1, vec![])).await, expects(2));
    assert_eq!(stsa.refused(stsa.file(3, vec![])).await, expects(2));
    assert!(matches!(
        stsa.judge(stsa.file(2, vec![])).await,
        Update::Applied(_)
    ));
}

#[tokio::test]
async fn one_entry_that_cannot_be_undoes_all() {
    let stsa = Stsa::new(Curve::P384).await;
    let dak = Dak::random().unwrap();
    let changes = vec![
        stsa.revoke(&stsa.world.smid),
        Change::Add {
            smid: another(),
            hardware: "Example-SM2".parse().unwrap(),
            dak: &dak,
            sgcs: [].into(),
        },
        stsa.revoke(&another()),
    ];
    let refusal = stsa.refused(stsa.file(1, changes)).await;
    assert!(refusal.to_string().contains("is not known"), "{refusal}");
}

#[tokio::test]
async fn a_file_for_another_kmc_key_is_refused_and_names_the_current_one() {
    let mut stsa = Stsa::new(Curve::P384).await;
    let current = stsa.ours.kmcid.clone();
    let key = PrivateKey::generate(Curve::P384).unwrap();
    let expired = stsa
        .world
        .add_kmc_key(&key, "20260101T000000Z", "20260302T000000Z")
        .await;
    stsa.ours.kmcid = expired;
    // The other key still serves, but the DAK was wrapped for the first one.
    let dak = Dak::random().unwrap();
    let add = Change::Add {
        smid: another(),
        hardware: "Example-SM2".parse().unwrap(),
        dak: &dak,
        sgcs: [].into(),
    };
    let refusal = stsa.refused(stsa.file(1, vec![add])).await;
    assert!(refusal.to_string().contains("does not unwrap"), "{refusal}");
    stsa.world.tables.content().kmc_keys.pop();
    let refusal = stsa.refused(stsa.file(1, vec![])).await;
    assert_eq!(refusal, UpdateRefusal::Kmc { current });
}

#[tokio::test]
async fn the_stsas_point_must_be_on_the_kmc_keys_curve() {
    let stsa = Stsa::new(Curve::P384).await;
    let good = String::from_utf8(stsa.file(1, vec![])).unwrap();
    let first = crate::sts::Record::parse(good.lines().next().unwrap()).unwrap();
    let point = |text: String| {
        let mut fields: Vec<String> = first.fields().iter().map(|&own| own.to_owned()).collect();
        fields[3] = text;
        let record = crate::sts::Record::build(first.kind(), fields).unwrap();
        file::write(&sign(vec![record], &stsa.key)).into_bytes()
    };
    let own = first.fields()[3].to_owned();
    let p256 = PrivateKey::generate(Curve::P256).unwrap().public_point();
    let mut off_curve = own.clone();
    let last = if own.ends_with('0') { "1" } else { "0" };
    off_curve.replace_range(own.len() - 1.., last);
    for text in [
        p256.to_text().to_string(),
        format!("02{}", &own[2..98]),
        format!("06{}", &own[2..]),
        "00".to_owned(),
        off_curve,
    ] {
        let refusal = stsa.refused(point(text.clone())).await;
        assert!(
            matches!(refusal, UpdateRefusal::Format(_)),
            "{text}: {refusal}"
        );
    }
    assert!(matches!(stsa.judge(point(own)).await, Update::Applied(_)));
}
