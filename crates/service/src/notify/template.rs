//! The texts of mail messages. A template is a subject, an empty line and a body, with fields such as `{{device}}`.

use std::path::Path;

use arklow_store::AuditEvent;

/// What a user is notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    CodesReplaced,
    CodeUsed,
    DeviceAdded,
    DeviceRemoved,
    Locked,
}

impl Notice {
    const ALL: [Self; 5] = [
        Self::CodesReplaced,
        Self::CodeUsed,
        Self::DeviceAdded,
        Self::DeviceRemoved,
        Self::Locked,
    ];

    /// The notice for an event; `None` for events that users are not notified of.
    fn of(event: AuditEvent) -> Option<Self> {
        match event {
            AuditEvent::BackupCodesRegenerated => Some(Self::CodesReplaced),
            AuditEvent::BackupCodeVerified => Some(Self::CodeUsed),
            AuditEvent::EnrollmentConfirmed | AuditEvent::DeviceCreated => Some(Self::DeviceAdded),
            AuditEvent::DeviceRemoved => Some(Self::DeviceRemoved),
            AuditEvent::UserLocked | AuditEvent::FactorLocked => Some(Self::Locked),
            AuditEvent::EnrollmentStarted
            | AuditEvent::TotpVerified
            | AuditEvent::Unlocked
            | AuditEvent::DevicesListed
            | AuditEvent::SessionsListed
            | AuditEvent::StepReset
            | AuditEvent::UserCreated
            | AuditEvent::UserDisabled
            | AuditEvent::SessionCreated
            | AuditEvent::SessionRevoked
            | AuditEvent::KeyRotated
            | AuditEvent::KeyRetired
            | AuditEvent::UserEnabled
            | AuditEvent::UserShown
            | AuditEvent::UsersListed
            | AuditEvent::RestoreStarted
            | AuditEvent::UsersHeld
            | AuditEvent::Restored
            | AuditEvent::MessagesRetried
            | AuditEvent::MessagesDiscarded => None,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::CodesReplaced => "codes-replaced.txt",
            Self::CodeUsed => "code-used.txt",
            Self::DeviceAdded => "device-added.txt",
            Self::DeviceRemoved => "device-removed.txt",
            Self::Locked => "locked.txt",
        }
    }

    fn built_in(self) -> &'static str {
        match self {
            Self::CodesReplaced => include_str!("../../templates/mail/codes-replaced.txt"),
            Self::CodeUsed => include_str!("../../templates/mail/code-used.txt"),
            Self::DeviceAdded => include_str!("../../templates/mail/device-added.txt"),
            Self::DeviceRemoved => include_str!("../../templates/mail/device-removed.txt"),
            Self::Locked => include_str!("../../templates/mail/locked.txt"),
        }
    }
}

/// What the fields of a template stand for.
pub(super) struct Fields<'a> {
    pub(super) name: &'a str,
    pub(super) issuer: &'a str,
    pub(super) device: &'a str,
    pub(super) time: &'a str,
    pub(super) address: &'a str,
}

/// A text with its fields filled in.
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) body: String,
}

/// A template for each notice, in the order of `Notice::ALL`.
#[derive(Debug, Clone)]
pub(crate) struct Templates([Template; 5]);

impl Templates {
    /// Reads those that the folder has; the others are the built-in ones.
    ///
    /// # Errors
    /// A message that names the file, if it cannot be read or is no template.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self, String> {
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(format!("`{}` is not a folder", folder.display()));
        }
        let read = |notice: Notice| {
            let text = match folder.map(|folder| folder.join(notice.file())) {
                Some(path) if path.exists() => std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?,
                _ => notice.built_in().to_owned(),
            };
            Template::parse(&text).map_err(|error| format!("{}: {error}", notice.file()))
        };
        let [first, second, third, fourth, fifth] = Notice::ALL.map(read);
        Ok(Self([first?, second?, third?, fourth?, fifth?]))
    }

    /// The text for an event; `None` for events that users are not notified of.
    pub(super) fn fill(&self, event: AuditEvent, fields: &Fields<'_>) -> Option<Text> {
        let notice = Notice::of(event)?;
        let index = Notice::ALL.iter().position(|other| *other == notice)?;
        let Template { subject, body } = &self.0[index];
        Some(Text {
            subject: subject.iter().map(|part| part.fill(fields)).collect(),
            body: body.iter().map(|part| part.fill(fields)).collect(),
        })
    }
}

#[derive(Debug, Clone)]
struct Template {
    subject: Vec<Part>,
    body: Vec<Part>,
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected a first line `Subject: …`, an empty line and a text";
        let (head, body) = text.split_once("\n\n").ok_or(expected)?;
        let subject = head.strip_prefix("Subject: ").ok_or(expected)?;
        if subject.contains('\n') || subject.trim().is_empty() {
            return Err(expected.to_owned());
        }
        Ok(Self {
            subject: parts(subject)?,
            body: parts(body)?,
        })
    }
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Name,
    Issuer,
    Device,
    Time,
    Address,
}

impl Part {
    fn fill(&self, fields: &Fields<'_>) -> String {
        match self {
            Self::Text(text) => text,
            Self::Name => fields.name,
            Self::Issuer => fields.issuer,
            Self::Device => fields.device,
            Self::Time => fields.time,
            Self::Address => fields.address,
        }
        .to_owned()
    }
}

/// Splits a text at its fields, so that what a field stands for is never read as a template.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut pieces = text.split("{{");
    let mut parts = vec![Part::Text(pieces.next().unwrap_or_default().to_owned())];
    for piece in pieces {
        let (field, text) = piece
            .split_once("}}")
            .ok_or("a field has no end: expected `}}`")?;
        parts.push(match field.trim() {
            "name" => Part::Name,
            "issuer" => Part::Issuer,
            "device" => Part::Device,
            "time" => Part::Time,
            "address" => Part::Address,
            other => {
                return Err(format!(
                    "there is no field `{other}`: expected name, issuer, device, time or address"
                ));
            }
        });
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in_once() {
        let fields = Fields {
            name: "Ada {{address}}",
            issuer: "Arklow",
            device: "Phone",
            time: "2026-11-27 08:00 UTC",
            address: "192.0.2.7",
        };
        let templates = Templates::read(None).unwrap();
        for event in [
            AuditEvent::BackupCodesRegenerated,
            AuditEvent::BackupCodeVerified,
            AuditEvent::EnrollmentConfirmed,
            AuditEvent::DeviceRemoved,
            AuditEvent::UserLocked,
        ] {
            let text = templates.fill(event, &fields).unwrap();
            assert!(text.subject.contains("Arklow"), "{}", text.subject);
            assert!(text.body.contains("Ada {{address}}"), "{}", text.body);
            assert!(text.body.contains("192.0.2.7"), "{}", text.body);
        }
        assert!(templates.fill(AuditEvent::UserShown, &fields).is_none());
    }

    #[test]
    fn text_that_is_no_template_is_refused() {
        for (text, words) in [
            ("Hello", "first line"),
            ("Subject: a\nb\n\nc", "first line"),
            ("Subject: Hi\n\n{{nam}}", "no field `nam`"),
            ("Subject: {{issuer\n\nHi", "no end"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
