//! A running server and its operations.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arklow_client::generated::Client;
use arklow_client::types::{
    BackupCodeRequest, RegenerateTotpRequest, RemoveDeviceRequest, StartEnrollmentRequest,
    VerificationType,
};

use super::*;

/// A running process that is killed when its test ends.
pub(crate) struct Server {
    child: Child,
    pub(crate) base: String,
    printed: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the command and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let printed = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut printed = printed.lock().expect("nobody panicked");
                    printed.push_str(&line);
                    printed.push('\n');
                }
            });
        }
        let mut server = Self {
            child,
            base: String::new(),
            printed,
        };
        let started = Instant::now();
        loop {
            if let Some(base) = server
                .printed()
                .lines()
                .find_map(|line| line.split_once("listening on "))
                .and_then(|(_, rest)| rest.split(['"', ' ']).next())
            {
                server.base = base.to_owned();
                return server;
            }
            let ended = server.child.try_wait().expect("a child");
            assert!(
                ended.is_none(),
                "the server ended: {ended:?}\n{}",
                server.printed()
            );
            assert!(
                started.elapsed() < TEST_TIMEOUT,
                "the server does not listen:\n{}",
                server.printed()
            );
            pause();
        }
    }

    /// All that the process has printed so far, on either stream.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("nobody panicked").clone()
    }

    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("an address")
    }

    /// The client as it is generated, which sends each request once.
    ///
    /// A new one each time, so each call is a new connection. Reading the authorities of the system, which plain HTTP does not
    /// need, takes 20 ms in a debug build.
    pub(crate) fn client(&self, token: &str) -> Client {
        let builder = arklow_client::Client::builder(&self.base).token(token);
        let http = reqwest::Client::builder().tls_certs_only([]);
        let client = builder.retries(0).http(http).build().expect("a client");
        client.generated().clone()
    }

    /// Regenerates through the generated client.
    pub(crate) async fn regenerate(&self, token: &str, device: &str) -> Answer {
        let request = RegenerateTotpRequest {
            device_id: device.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_regenerate_totp()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_regenerate_totp", result)
    }

    pub(crate) async fn user(&self, token: &str) -> Answer {
        let result = self.client(token).get_v1_self().send().await;
        Answer::of("get_v1_self", result)
    }

    pub(crate) async fn devices(&self, token: &str) -> Answer {
        let result = self.client(token).get_v1_self_mfa().send().await;
        Answer::of("get_v1_self_mfa", result)
    }

    pub(crate) async fn start(&self, token: &str, name: &str) -> Answer {
        let request = StartEnrollmentRequest {
            name: name.to_owned(),
            device_type: None,
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_enroll_start()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_enroll_start", result)
    }

    pub(crate) async fn confirm(&self, token: &str, device: &str, code: &str) -> Answer {
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_enroll_confirm()
            .body(totp_request(device, code))
            .send()
            .await;
        Answer::of("post_v1_self_mfa_enroll_confirm", result)
    }

    pub(crate) async fn verify(&self, token: &str, device: &str, code: &str) -> Answer {
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_verify_totp()
            .body(totp_request(device, code))
            .send()
            .await;
        Answer::of("post_v1_self_mfa_verify_totp", result)
    }

    pub(crate) async fn redeem(&self, token: &str, device: &str, code: &str) -> Answer {
        let request = BackupCodeRequest {
            device_id: device.to_owned(),
            code: code.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_verify_totp_backup()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_verify_totp_backup", result)
    }

    pub(crate) async fn remove(
        &self,
        token: &str,
        device: &str,
        verification_type: VerificationType,
        code: &str,
    ) -> Answer {
        let request = RemoveDeviceRequest {
            device_id: device.to_owned(),
            verification_type,
            code: code.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .delete_v1_self_mfa_remove()
            .body(request)
            .send()
            .await;
        Answer::of("delete_v1_self_mfa_remove", result)
    }

    /// Enrolls and confirms a device: its id, its app and its codes.
    pub(crate) async fn enroll(&self, token: &str, name: &str) -> (String, App, Vec<String>) {
        let started = self.start(token, name).await;
        let (device, app) = (started.device(), started.app());
        let confirmed = self.confirm(token, &device, &app.code()).await;
        assert!(
            confirmed.body["data"]["device"]["confirmed_at"].is_string(),
            "{:?}",
            confirmed.body
        );
        (device, app, started.backup_codes())
    }

    /// A request of an operation with whatever body.
    pub(crate) fn request(&self, operation: &str, token: &str) -> reqwest::RequestBuilder {
        let (path, method) = place(operation);
        let method: reqwest::Method = method.to_uppercase().parse().expect("a method");
        reqwest::Client::new()
            .request(method, format!("{}{path}", self.base))
            .header("x-arklow-auth", token)
    }

    /// A request with whatever body, for what the client does not send.
    pub(crate) fn post(
        &self,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let http = reqwest::Client::builder().tls_certs_only([]).build();
        http.expect("a client")
            .post(format!("{}{REGENERATE}", self.base))
            .header("x-arklow-auth", token)
            .header("content-type", "application/json")
            .body(body)
    }

    /// How much memory the process holds, in KiB.
    #[track_caller]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        // Only Linux has this file; elsewhere the check is skipped.
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.map_or(0, |kib| kib.parse().expect("a number"))
    }

    /// Sends a signal, such as `TERM` or `KILL`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// How the process ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                started.elapsed() < TEST_TIMEOUT,
                "the process does not end:\n{}",
                self.printed()
            );
            pause();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
