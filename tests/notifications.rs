//! Messages to users reach a webhook or a mail server: signed, in order, once more at most after a crash.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Home, NO_LIMITS, Received, Receiver, Server, TEST_TIMEOUT, string, text};

const SECRET: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=";
const FORMER: &str = "whsec_emVicmF6ZWJyYXplYnJhemVicmF6ZWJyYXplYnJhMDE=";
const QUICK: &str = "20ms,20ms,20ms,20ms,20ms,20ms";

/// A request to a webhook.
#[derive(Debug, Clone)]
struct Hook {
    headers: BTreeMap<String, String>,
    body: String,
}

impl From<Received> for Hook {
    fn from(received: Received) -> Self {
        Self {
            headers: received.headers,
            body: String::from_utf8(received.body).expect("UTF-8"),
        }
    }
}

impl Hook {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn user(&self) -> String {
        string(&self.json()["data"]["user_id"])
    }

    /// Checks the signatures as a receiver does that has `secret`.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).expect("base64");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let timestamp = &self.headers["webhook-timestamp"];
        let signed = format!("{}.{timestamp}.{}", self.id(), self.body);
        let signatures = self.headers["webhook-signature"].split(' ');
        signatures
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .any(|tag| ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok())
    }
}

/// Starts a server that posts to the receiver.
fn serve(receiver: &Receiver, home: &Home, retries: &str) -> Server {
    Server::spawn(&mut command(receiver, home, retries))
}

fn command(receiver: &Receiver, home: &Home, retries: &str) -> Command {
    let url = format!("{}/hook", receiver.base);
    let flags = ["--webhook-url", &url, "--notify-retries", retries];
    let mut command = home.arklow();
    command
        .env("ARKLOW_WEBHOOK_SECRET", format!("{SECRET},{FORMER}"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .args([&flags[..], NO_LIMITS].concat());
    command
}

fn hooks(receiver: &Receiver) -> Vec<Hook> {
    receiver.received().into_iter().map(Hook::from).collect()
}

/// How many messages are in a state, by `arklow outbox list`.
fn listed(home: &Home, state: &str) -> Vec<Value> {
    let output = home.output(&["outbox", "list", "--state", state, "--json"]);
    let lines = text(&output.stdout);
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

async fn wait_for(home: &Home, state: &str, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let found = listed(home, state);
        if found.len() == count {
            return found;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{state}: {found:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_gets_signed_messages_in_the_order_of_each_user() {
    let home = Home::new();
    let (ada, bob) = (home.caller("ada"), home.caller("bob"));
    let slow = ada.user.clone();
    // Ada's first message fails three times; what comes after it waits, and Bob's messages do not.
    let receiver = Receiver::start(move |hook, number| {
        let fails = Hook::from(hook.clone()).user() == slow && number <= 4;
        (if fails { 500 } else { 204 }, Duration::ZERO)
    })
    .await;
    let server = serve(&receiver, &home, QUICK);
    let mut codes = Vec::new();
    for caller in [&ada, &bob, &ada] {
        codes.extend(server.by(caller).regenerate().await.backup_codes());
    }
    server.by(&ada).redeem(&codes[20]).await.assert_valid();
    // Two devices by an operator, three sets, one code.
    let delivered = wait_for(&home, "delivered", 6).await;
    assert!(listed(&home, "waiting").is_empty() && listed(&home, "dead").is_empty());
    let hooks = hooks(&receiver);
    for user in [&ada.user, &bob.user] {
        let mut ids: Vec<i64> = hooks
            .iter()
            .filter(|hook| hook.user() == *user)
            .map(|hook| hook.id()["msg_".len()..].parse().expect("a number"))
            .collect();
        assert!(ids.is_sorted(), "{user}: {ids:?}");
        ids.dedup();
        let of_user = delivered.iter().filter(|entry| entry["user_id"] == **user);
        assert_eq!(ids.len(), of_user.count());
    }
    let adas_first = hooks.iter().filter(|hook| hook.user() == ada.user);
    let attempts = adas_first
        .clone()
        .filter(|hook| hook.id() == adas_first.clone().next().expect("one").id());
    assert!(attempts.count() > 1, "the id stays the same");
    for hook in &hooks {
        assert!(hook.is_signed_with(SECRET) && hook.is_signed_with(FORMER));
        let mut forged = hook.clone();
        forged.body = forged.body.replace("mfa.", "MFA.");
        assert!(!forged.is_signed_with(SECRET));
        for code in &codes {
            assert!(
                !hook.body.contains(code.as_str()),
                "a code in {}",
                hook.body
            );
        }
    }
    let used = hooks.last().expect("a message").json();
    let of_bob = |hook: &&Hook| hook.user() == bob.user && hook.body.contains("regenerated");
    let replaced = hooks.iter().find(of_bob).expect("a message").json();
    assert_eq!(used["type"], "mfa.verify.backup_code");
    assert_eq!(replaced["type"], "mfa.backup_codes.regenerated");
    assert_eq!(replaced["data"]["email"], "bob@example.com");
    assert_eq!(replaced["data"]["device_id"], bob.device);
    assert_eq!(replaced["data"]["device_name"], "Phone");
    assert_eq!(replaced["data"]["remote_address"], "127.0.0.1");
    assert_eq!(replaced["data"]["by_operator"], false);
    let printed = server.printed();
    assert!(
        printed.contains("message not delivered; next attempt in"),
        "{printed}"
    );
    assert!(
        !printed.contains("whsec_") && !printed.contains("/hook"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_delivered_after_a_retry() {
    let home = Home::new();
    let (ada, bob) = (home.caller("ada"), home.caller("bob"));
    let (gone, is_well) = (
        ada.user.clone(),
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let switch = Arc::clone(&is_well);
    let receiver = Receiver::start(move |hook, _| {
        let status = match switch.load(std::sync::atomic::Ordering::SeqCst) {
            true => 200,
            // Wanted no more, and failed for ever.
            false if Hook::from(hook.clone()).user() == gone => 410,
            false => 503,
        };
        (status, Duration::ZERO)
    })
    .await;
    let server = serve(&receiver, &home, "10ms,10ms");
    let dead = wait_for(&home, "dead", 2).await;
    for entry in &dead {
        let is_adas = entry["user_id"] == *ada.user;
        assert_eq!(entry["attempts"], if is_adas { 1 } else { 3 }, "{entry}");
        let status = if is_adas { "410" } else { "503" };
        assert!(string(&entry["last_error"]).contains(status), "{entry}");
    }
    let printed = server.printed();
    assert!(
        printed.contains("arklow outbox list --state dead"),
        "{printed}"
    );
    let retried = home.output(&["outbox", "retry", &string(&dead[0]["id"]), "99999"]);
    assert!(text(&retried.stdout).contains("1 message is now waiting"));
    assert!(text(&retried.stderr).contains("1 id is not that of a dead letter"));
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    home.run(&["outbox", "retry", "--all"]);
    wait_for(&home, "delivered", 2).await;
    // A user whose letter is dead gets the next one.
    server.by(&bob).regenerate().await.assert_ok();
    wait_for(&home, "delivered", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_messages_can_be_given_up_before_the_first_delivery() {
    let home = Home::new();
    let ada = home.caller("ada");
    home.vandal().run("UPDATE outbox SET at = at - 90000000000");
    let discarded = home.run(&["outbox", "discard", "--before", "24h"]);
    assert_eq!(discarded["messages"], 1);
    let receiver = Receiver::start(|_, _| (200, Duration::ZERO)).await;
    let server = serve(&receiver, &home, QUICK);
    server.by(&ada).regenerate().await.assert_ok();
    receiver.wait_for(1).await;
    assert_eq!(
        hooks(&receiver)[0].json()["type"],
        "mfa.backup_codes.regenerated"
    );
    let dead = listed(&home, "dead");
    assert_eq!(string(&dead[0]["last_error"]), "discarded by an operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_messages_and_send_none_twice() {
    let home = Home::new();
    let callers: Vec<_> = ["ada", "bob", "cyd", "dan"]
        .map(|name| home.caller(name))
        .into();
    let receiver = Receiver::start(|_, _| (200, Duration::from_millis(30))).await;
    let servers = [
        serve(&receiver, &home, QUICK),
        serve(&receiver, &home, QUICK),
    ];
    for turn in 0..24 {
        let server = &servers[turn % 2];
        server.by(&callers[turn % 4]).regenerate().await.assert_ok();
    }
    wait_for(&home, "delivered", 28).await;
    let hooks = hooks(&receiver);
    let mut ids: Vec<&str> = hooks.iter().map(Hook::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), hooks.len()), (28, 28));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_attempts_and_a_crash_repeats_them() {
    let home = Home::new();
    let ada = home.caller("ada");
    let receiver = Receiver::start(|_, number| {
        (
            200,
            Duration::from_millis(if number <= 2 { 700 } else { 0 }),
        )
    })
    .await;
    let mut server = serve(&receiver, &home, QUICK);
    receiver.wait_for(1).await;
    server.signal("TERM");
    assert!(server.wait().success());
    assert_eq!(listed(&home, "delivered").len(), 1);

    let mut server = serve(&receiver, &home, QUICK);
    server.by(&ada).regenerate().await.assert_ok();
    receiver.wait_for(2).await;
    server.signal("KILL");
    server.wait();
    let waiting = listed(&home, "waiting");
    assert_eq!(
        (waiting.len(), &waiting[0]["attempts"]),
        (1, &Value::from(1))
    );
    let server = serve(&receiver, &home, QUICK);
    server.by(&ada).user().await.assert_ok();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        hooks(&receiver).len(),
        2,
        "the claim of a crashed server holds"
    );
    // Its end comes.
    home.vandal()
        .run("UPDATE outbox SET due_at = 1 WHERE delivered_at IS NULL");
    wait_for(&home, "delivered", 2).await;
    let hooks = hooks(&receiver);
    assert_eq!(hooks.len(), 3);
    assert_eq!(hooks[1].id(), hooks[2].id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_the_end_for_the_grace_at_most() {
    let home = Home::new();
    home.caller("ada");
    let receiver = Receiver::start(|_, _| (200, Duration::from_secs(60))).await;
    let mut command = command(&receiver, &home, QUICK);
    let mut server = Server::spawn(command.args(["--shutdown-grace", "1s"]));
    receiver.wait_for(1).await;
    let started = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    let printed = server.printed();
    assert!(printed.contains("will be attempted again"), "{printed}");
    let waiting = listed(&home, "waiting");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
}

/// A mail server that keeps its mail, and rejects recipients as `reply` decides.
struct MailServer {
    url: String,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    async fn start(reply: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mails: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, reply) = (Arc::clone(&mails), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                tokio::spawn(async move { take_mail(stream, &kept, &*reply).await });
            }
        });
        Self {
            url: format!("smtp://{address}"),
            mails,
        }
    }
}

async fn take_mail(
    stream: TcpStream,
    kept: &Mutex<Vec<String>>,
    reply: &(dyn Fn(&str) -> &'static str + Send + Sync),
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example\r\n").await.ok()?;
    let mut mail: Option<String> = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match (&mut mail, line.trim_end()) {
            (Some(_), ".") => {
                kept.lock().expect("no panic").extend(mail.take());
                "250 taken"
            }
            (Some(mail), _) => {
                mail.push_str(&line);
                continue;
            }
            (None, "DATA") => {
                mail = Some(String::new());
                "354 go on"
            }
            (None, line) if line.starts_with("RCPT TO:") => reply(line),
            (None, _) => "250 fine",
        };
        stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_has_the_text_of_its_event_and_rejected_recipients_are_dead_letters() {
    let home = Home::new();
    let (ada, _) = (home.caller("ada"), home.caller("nobody"));
    let tries = Mutex::new(0);
    let mail = MailServer::start(move |recipient| {
        let mut tries = tries.lock().expect("no panic");
        *tries += 1;
        match recipient.contains("nobody") {
            true => "550 no such user",
            // A mail server that is busy at first.
            false if *tries < 3 => "451 later",
            false => "250 fine",
        }
    })
    .await;
    let templates = home.path().join("templates");
    std::fs::create_dir(&templates).expect("a folder");
    let own = "Subject: {{issuer}}: new codes\n\nDear {{name}}, {{device}} from {{address}}.\n";
    std::fs::write(templates.join("codes-replaced.txt"), own).expect("written");
    let folder = templates.display().to_string();
    let server = home.serve(&[
        "--smtp-url",
        &mail.url,
        "--mail-from",
        "Arklow <mfa@arklow.example>",
        "--mail-templates",
        &folder,
        "--notify-retries",
        QUICK,
    ]);
    let codes = server.by(&ada).regenerate().await.backup_codes();
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    wait_for(&home, "delivered", 3).await;
    let dead = wait_for(&home, "dead", 1).await;
    assert!(
        string(&dead[0]["last_error"]).contains("no such user"),
        "{dead:?}"
    );
    let mails = mail.mails.lock().expect("no panic").clone();
    let [added, replaced, used] = &mails[..] else {
        panic!("{mails:#?}");
    };
    assert!(
        added.contains("Subject: A device was added to your Arklow account"),
        "{added}"
    );
    assert!(added.contains("From: an administrator"), "{added}");
    assert!(
        replaced.contains("Subject: Arklow: new codes"),
        "{replaced}"
    );
    assert!(
        replaced.contains("Dear ada, Phone from 127.0.0.1."),
        "{replaced}"
    );
    assert!(
        used.contains("Subject: A backup code of your Arklow account was used"),
        "{used}"
    );
    for mail in &mails {
        assert!(mail.contains("To: ada@example.com"), "{mail}");
        assert!(mail.contains("From: Arklow <mfa@arklow.example>"), "{mail}");
        assert!(mail.contains("Auto-Submitted: auto-generated"), "{mail}");
        assert!(mail.contains("@arklow.example>"), "{mail}");
        for code in &codes {
            assert!(!mail.contains(code.as_str()), "{mail}");
        }
    }
}

#[test]
fn wrong_notification_settings_are_refused_without_their_secrets() {
    let home = Home::on_sqlite();
    let url = "https://example.com/hunter2";
    let folder = home.path().join("templates");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("locked.txt"), "Subject: a\n\n{{nam}}\n").expect("written");
    let folder = folder.display().to_string();
    let smtp = "smtps://ada:hunter2@mail.example.com";
    for (arguments, words) in [
        (&["--webhook-url", url][..], "--webhook-secret"),
        (
            &["--webhook-url", url, "--webhook-secret", "hunter2"],
            "openssl rand -base64 32",
        ),
        (
            &["--webhook-url", "http://hunter2.example.com/"],
            "expected https",
        ),
        (&["--smtp-url", smtp], "--mail-from"),
        (
            &["--smtp-url", "smtp://ada:hunter2@mail.example.com"],
            "?tls=required",
        ),
        (
            &["--smtp-url", smtp, "--mail-from", "nobody"],
            "mfa@example.com",
        ),
        (&["--mail-templates", &folder], "no field `nam`"),
        (&["--notify-retries", "5s,soon"], "expected a duration"),
        (
            &[
                "--webhook-url",
                url,
                "--webhook-secret",
                SECRET,
                "--smtp-url",
                smtp,
                "--mail-from",
                "a@b.example",
            ],
            "cannot be used with",
        ),
    ] {
        let output = home.output(&[&["serve"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(
            !said.contains("hunter2") && !said.contains(SECRET),
            "{said}"
        );
    }
    let mut print = home.arklow();
    print
        .env("ARKLOW_WEBHOOK_SECRET", SECRET)
        .args(["config", "print", "--webhook-url", url]);
    let output = print.output().expect("the binary runs");
    let printed = text(&output.stdout);
    assert!(
        printed.contains("# webhook-secret is a secret and set by ARKLOW_WEBHOOK_SECRET"),
        "{printed}"
    );
    assert!(
        !printed.contains("hunter2") && !printed.contains(SECRET),
        "{printed}"
    );
}
