//! The actor of a command, as the audit records it.
//!
//! The account comes from the real uid, which the kernel knows. `USER` and `LOGNAME` never count:
//! they hold what the caller put there.

use std::fmt::Write as _;

use nix::unistd::{Uid, User, gethostname};

/// The account that runs this process, such as `root (sudo: ada) on db1, label "ticket 12"`.
///
/// `label` is what `--actor` says. It comes last and quoted, so that it cannot pass for the rest.
pub(crate) fn describe(label: Option<&str>) -> String {
    let uid = Uid::current();
    let mut text = match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid:{uid}"),
    };
    if let Some(caller) = sudo_caller(uid, |name| std::env::var(name).ok()) {
        append(&mut text, format_args!(" (sudo: {caller})"));
    }
    if let Some(host) = gethostname().ok().filter(|host| !host.is_empty()) {
        append(&mut text, format_args!(" on {}", host.to_string_lossy()));
    }
    if let Some(label) = label.filter(|label| !label.trim().is_empty()) {
        append(&mut text, format_args!(", label {label:?}"));
    }
    text
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more)
        .expect("writing to a string does not fail");
}

/// The account that called `sudo`, if the variables that it sets can be true: a well-formed name
/// of another account, with the uid if this system knows the account.
fn sudo_caller(uid: Uid, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = variable("SUDO_USER").filter(|name| is_account_name(name))?;
    let claimed: Option<u32> = variable("SUDO_UID").and_then(|text| text.parse().ok());
    if let Ok(Some(user)) = User::from_name(&name) {
        let is_other = claimed.is_some_and(|claimed| claimed != user.uid.as_raw());
        if is_other || user.uid == uid {
            return None;
        }
    }
    Some(name)
}

/// Whether an account can have this name, one of a directory service with its domain included.
fn is_account_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-@$\\+".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: &str, uid: Option<&str>) -> Option<String> {
        sudo_caller(Uid::from_raw(4_000_000), |name| match name {
            "SUDO_USER" => Some(user.to_owned()),
            "SUDO_UID" => uid.map(str::to_owned),
            _ => None,
        })
    }

    #[test]
    fn caller_of_sudo_counts_if_it_can_be_true() {
        assert_eq!(caller("ada.l", Some("1001")).as_deref(), Some("ada.l"));
        assert_eq!(caller("root", Some("0")).as_deref(), Some("root"));
        assert_eq!(caller("root", Some("1001")), None, "another uid");
        for odd in ["", "-u", "ada) on db1", "a\nb", "\"", &"a".repeat(65)] {
            assert_eq!(caller(odd, None), None, "{odd:?}");
        }
        assert_eq!(sudo_caller(Uid::from_raw(0), |_| None), None);
        let own = sudo_caller(Uid::from_raw(0), |_| Some("root".to_owned()));
        assert_eq!(own, None, "the account itself");
    }

    #[test]
    fn label_is_quoted_and_last() {
        let text = describe(Some("x\" on db2\n"));
        assert!(text.ends_with(r#", label "x\" on db2\n""#), "{text}");
        assert_eq!(describe(Some(" ")), describe(None));
    }
}
