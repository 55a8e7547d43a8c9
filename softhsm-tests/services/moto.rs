//! moto: AWS KMS and IAM that check the signatures of requests and what a user may do. Its cryptography is wrong (it hashes
//! a digest again), so it is for accepted and refused credentials only.

use serde_json::json;

use crate::{
    http::{Request, ask},
    localstack::request,
    process::{Server, free_port},
    programs::{program, tied, wait_for_answer},
    work::Work,
};

/// A KMS with one key, and users.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    key: String,
    /// May do everything with keys.
    pub allowed: Access,
    /// May sign, but neither list nor describe keys.
    pub signer: Access,
    /// May do nothing.
    pub forbidden: Access,
    /// May do everything with keys for an hour: somebody who has assumed a role.
    pub temporary: Access,
    server: Server,
    _work: Work,
}

/// What a user signs requests with.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its public half.
    pub access_key_id: String,
    /// Its secret half.
    pub secret_access_key: String,
    /// What temporary ones are shown with.
    pub session_token: Option<String>,
}

impl Moto {
    /// The region of its key.
    pub const REGION: &str = "us-east-1";

    /// Starts one and waits until it answers. From then on each request must be signed.
    #[track_caller]
    pub fn start() -> Self {
        let work = Work::new();
        let port = free_port();
        let mut command = tied(program("servers", "moto_server"), None);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(work.path())
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "1000");
        let mut server = Server::start(&mut command, &work.path().join("log"));
        let alive = Request {
            method: "GET".to_owned(),
            target: "/moto-api/".to_owned(),
            ..Request::default()
        };
        wait_for_answer(&mut server, port, &alive);
        let question = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
        let answer = ask(port, &request("none", "CreateKey", &question)).expect("an answer");
        let key = answer.value()["KeyMetadata"]["KeyId"]
            .as_str()
            .map(str::to_owned);
        let moto = Self {
            port,
            key: key.expect("a key"),
            allowed: user(port, "allowed", Some(r#"["kms:*"]"#)),
            signer: user(port, "signer", Some(r#"["kms:Sign", "kms:GetPublicKey"]"#)),
            forbidden: user(port, "forbidden", None),
            temporary: role(port, r#"["kms:*"]"#),
            server,
            _work: work,
        };
        let strict = Request {
            method: "POST".to_owned(),
            target: "/moto-api/reset-auth".to_owned(),
            body: b"0".to_vec(),
            ..Request::default()
        };
        let strict = ask(port, &strict.with("Content-Type", "text/plain")).expect("an answer");
        assert_eq!(strict.status, 200);
        moto
    }

    /// The port of 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The number of the process group that it is.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The id of its key, an `ECC_NIST_P256`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Makes a user who may do `actions` (a JSON list).
#[track_caller]
fn user(port: u16, name: &str, actions: Option<&str>) -> Access {
    iam(port, &format!("Action=CreateUser&UserName={name}"));
    if let Some(actions) = actions {
        let policy = policy(actions);
        iam(
            port,
            &format!(
                "Action=PutUserPolicy&UserName={name}&PolicyName=keys&PolicyDocument={policy}"
            ),
        );
    }
    let answer = iam(port, &format!("Action=CreateAccessKey&UserName={name}"));
    Access {
        access_key_id: field(&answer, "AccessKeyId"),
        secret_access_key: field(&answer, "SecretAccessKey"),
        session_token: None,
    }
}

/// Makes a role that may do `actions` (a JSON list), and assumes it.
#[track_caller]
fn role(port: u16, actions: &str) -> Access {
    let anybody = percent_encoded(
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"}]}"#,
    );
    let made = iam(
        port,
        &format!("Action=CreateRole&RoleName=role&AssumeRolePolicyDocument={anybody}"),
    );
    let policy = policy(actions);
    iam(
        port,
        &format!("Action=PutRolePolicy&RoleName=role&PolicyName=keys&PolicyDocument={policy}"),
    );
    let arn = percent_encoded(&field(&made, "Arn"));
    let answer = ask_form(
        port,
        "sts",
        &format!("Action=AssumeRole&Version=2011-06-15&RoleArn={arn}&RoleSessionName=session"),
    );
    Access {
        access_key_id: field(&answer, "AccessKeyId"),
        secret_access_key: field(&answer, "SecretAccessKey"),
        session_token: Some(field(&answer, "SessionToken")),
    }
}

/// A policy that allows these actions, as a form has it.
fn policy(actions: &str) -> String {
    percent_encoded(&format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": {actions}, "Resource": "*"}}]}}"#
    ))
}

/// The text of the first XML element of this name.
#[track_caller]
fn field(answer: &str, name: &str) -> String {
    let (_, rest) = answer.split_once(&format!("<{name}>")).expect("an element");
    let (value, _) = rest.split_once('<').expect("its end");
    value.to_owned()
}

#[track_caller]
fn iam(port: u16, action: &str) -> String {
    ask_form(port, "iam", &format!("{action}&Version=2010-05-08"))
}

#[track_caller]
fn ask_form(port: u16, service: &str, body: &str) -> String {
    let scope = format!("none/20260101/us-east-1/{service}/aws4_request");
    let request = Request {
        method: "POST".to_owned(),
        target: "/".to_owned(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
    .with("Content-Type", "application/x-www-form-urlencoded")
    .with(
        "Authorization",
        &format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
    );
    let response = ask(port, &request).expect("an answer");
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status, 200, "{body}: {text}");
    text
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
