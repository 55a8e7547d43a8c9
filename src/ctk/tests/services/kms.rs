//! AWS KMS as far as listing and signing go. Who asks is not checked but for the access key's id.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{Answer, Request, Server, from_base64, public_key, sign};
use crate::bed::{Bed, Ran};

/// The access key id that is let in.
const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) alias: Option<String>,
    pub(crate) enabled: bool,
    folder: PathBuf,
    /// Of NAME.key.
    name: String,
}

pub(crate) struct Kms {
    pub(crate) server: Server,
    pub(crate) keys: Arc<Mutex<Vec<Key>>>,
}

impl Kms {
    pub(crate) fn start() -> Self {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&keys);
        let server = Server::start(move |request| answer(&own.lock().unwrap(), request));
        Self { server, keys }
    }

    /// `ctk add aws-kms` for this service.
    pub(crate) fn register(&self, bed: &Bed, before: &[&str]) -> Ran {
        let (url, source) = (self.server.url(), bed.secret("aws", "c2VjcmV0"));
        let region = ["--region", "eu-central-1", "--endpoint", &url];
        let who = [
            "--access-key-id",
            ACCESS_KEY,
            "--secret-access-key",
            &source,
        ];
        bed.ctk(&[before, &["add", "aws-kms"], &region, &who].concat(), "")
    }

    /// An EC key on P-256 that the bed has as NAME.key.
    pub(crate) fn add(&self, bed: &Bed, id: &str, alias: Option<&str>, name: &str) {
        self.keys.lock().unwrap().push(Key {
            id: id.to_owned(),
            alias: alias.map(str::to_owned),
            enabled: true,
            folder: bed.path(""),
            name: name.to_owned(),
        });
    }
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:eu-central-1:111122223333:key/{id}")
}

fn answer(keys: &[Key], request: &Request) -> Answer {
    let authorization = request.header("Authorization").unwrap_or_default();
    if !authorization.contains(&format!("Credential={ACCESS_KEY}/")) {
        return refuse(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        );
    }
    let named = request.body["KeyId"].as_str().unwrap_or_default();
    let is_named = |key: &&Key| {
        key.id == named || arn(&key.id) == named || key.alias.as_deref() == Some(named)
    };
    match (request.path.as_str(), keys.iter().find(is_named)) {
        ("ListKeys", _) => {
            let keys = keys
                .iter()
                .map(|key| json!({ "KeyId": key.id, "KeyArn": arn(&key.id) }));
            (
                200,
                json!({ "Keys": keys.collect::<Vec<_>>(), "Truncated": false }),
            )
        }
        ("ListAliases", _) => {
            let aliases = keys.iter().filter_map(|key| {
                let alias = key.alias.as_ref()?;
                Some(json!({ "AliasName": alias, "AliasArn": alias, "TargetKeyId": key.id }))
            });
            (
                200,
                json!({ "Aliases": aliases.collect::<Vec<_>>(), "Truncated": false }),
            )
        }
        (_, None) => refuse(
            "NotFoundException",
            &format!("Key '{named}' does not exist"),
        ),
        ("DescribeKey", Some(key)) => (200, json!({ "KeyMetadata": key.metadata() })),
        (_, Some(key)) if !key.enabled => refuse(
            "DisabledException",
            &format!("{} is disabled.", arn(&key.id)),
        ),
        ("GetPublicKey", Some(key)) => {
            let mut answer = key.facts();
            answer["KeyId"] = arn(&key.id).into();
            answer["PublicKey"] = public_key(&key.folder, &key.file()).into();
            (200, answer)
        }
        ("Sign", Some(key)) => {
            let hash = from_base64(request.body["Message"].as_str().unwrap());
            let signature = sign(&key.folder, &key.file(), &hash, &[]);
            let algorithm = &request.body["SigningAlgorithm"];
            let answer = json!({
                "KeyId": arn(&key.id), "Signature": signature, "SigningAlgorithm": algorithm,
            });
            (200, answer)
        }
        _ => refuse("UnknownOperationException", "no such operation"),
    }
}

fn refuse(kind: &str, message: &str) -> Answer {
    (400, json!({ "__type": kind, "message": message }))
}

impl Key {
    fn file(&self) -> String {
        format!("{}.key", self.name)
    }

    fn facts(&self) -> Value {
        json!({
            "KeySpec": "ECC_NIST_P256",
            "CustomerMasterKeySpec": "ECC_NIST_P256",
            "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": ["ECDSA_SHA_256"],
        })
    }

    fn metadata(&self) -> Value {
        let mut metadata = self.facts();
        metadata["KeyId"] = self.id.as_str().into();
        metadata["Arn"] = arn(&self.id).into();
        metadata["Enabled"] = self.enabled.into();
        metadata["KeyState"] = if self.enabled { "Enabled" } else { "Disabled" }.into();
        metadata["KeyManager"] = "CUSTOMER".into();
        metadata["Origin"] = "AWS_KMS".into();
        metadata["Description"] = "".into();
        metadata
    }
}
