//! certomancer-csc: a CSC API server, version 1.0.4, with correct signatures and no authorisation worth the name.

use std::{path::Path, process::Command, sync::OnceLock};

use serde_json::{Value, json};

use crate::{
    http::{Request, ask},
    process::{Server, free_port, run},
    programs::{program, tied, wait_for_answer},
    work::Work,
};

/// Whether an authorisation is for any hash, or for those named with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scal {
    /// `SCAL` "1"
    One,
    /// `SCAL` "2"
    Two,
}

/// A CSC server with new keys: the credentials of [`Csc::CREDENTIALS`], whose keys it uses, and `t/disabled`.
///
/// It wants no bearer and no PIN, issues authorisations that last for ever, and answers its refusals as plain text:
/// [`csc::Rules`](crate::csc::Rules) before it does better.
#[derive(Debug)]
pub struct Csc {
    work: Work,
    scal: Scal,
    /// Nobody drops what is static: its folder is removed by what ends it.
    is_shared: bool,
    port: u16,
    server: Option<Server>,
}

impl Csc {
    /// The credentials that can be used. `t/root` is the authority of the others, all of which it lists.
    pub const CREDENTIALS: [&str; 6] = [
        "t/root",
        "t/rsa",
        "t/rsa-3072",
        "t/p256",
        "t/p384",
        "t/p521",
    ];
    /// The credential that cannot be used.
    pub const DISABLED: &str = "t/disabled";

    /// The one of this process, with [`Scal::One`], started by the first test that wants it. It ends with the process.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Csc> = OnceLock::new();
        SHARED.get_or_init(|| Self::started(Scal::One, true))
    }

    /// Starts one for this test alone and waits until it answers.
    #[track_caller]
    pub fn start(scal: Scal) -> Self {
        Self::started(scal, false)
    }

    #[track_caller]
    fn started(scal: Scal, is_shared: bool) -> Self {
        let work = Work::new();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("certomancer-keys.sh");
        run(Command::new(keys).arg(work.path())).succeeded();
        let mut csc = Self {
            work,
            scal,
            is_shared,
            port: free_port(),
            server: None,
        };
        csc.launch();
        csc
    }

    /// The port of 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/csc/v1", self.port)
    }

    /// The number of the process group that it is.
    pub fn id(&self) -> u32 {
        self.server.as_ref().expect("a server that runs").id()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Ends it and starts it again with the same keys, on the same port.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// The certificate chain of a credential (DER, the leaf first).
    #[track_caller]
    pub fn chain(&self, credential: &str) -> Vec<Vec<u8>> {
        let question = json!({"credentialID": credential, "certificates": "chain"});
        let answer = self.ask("credentials/info", &question);
        let certificates = answer["cert"]["certificates"].as_array();
        certificates
            .expect("certificates")
            .iter()
            .map(|text| {
                openssl::base64::decode_block(text.as_str().expect("text")).expect("base64")
            })
            .collect()
    }

    /// Asks it something, like `credentials/list`.
    #[track_caller]
    pub fn ask(&self, method: &str, question: &Value) -> Value {
        let request = Request::post_json(&format!("/csc/v1/{method}"), question);
        let response = ask(self.port, &request).expect("an answer");
        assert_eq!(response.status, 200, "{method} {question}");
        response.value()
    }

    #[track_caller]
    fn launch(&mut self) {
        let scal = match self.scal {
            Scal::One => "1",
            Scal::Two => "2",
        };
        let litter = self.is_shared.then(|| self.work.path());
        let mut command = tied(program("servers", "certomancer-csc"), litter);
        command
            .arg(self.work.path().join("certomancer.yml"))
            .args([&self.port.to_string(), scal]);
        let mut server = Server::start(&mut command, &self.work.path().join("log"));
        let info = Request::post_json("/csc/v1/info", &json!({}));
        wait_for_answer(&mut server, self.port, &info);
        self.server = Some(server);
    }
}
