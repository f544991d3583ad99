//! For each document of `refusals/`, the `.txt` file of the same name lists its refusals and adaptations.

use std::fs;

use arklow_codegen::generate;

use super::{assert_file, entries, folder, options};

#[test]
fn refusals_and_adaptations_say_where_what_and_what_to_do() {
    let documents: Vec<_> = entries(&folder("refusals"))
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert!(documents.len() >= 15, "the folder holds the cases");
    for document in documents {
        let name = document
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&document).expect("the case can be read");
        let (refusals, report) = match generate(&text, &options()) {
            Ok(generated) => (Vec::new(), generated.report),
            Err(refused) => (refused.refusals, *refused.report),
        };
        let adaptations = &report.adaptations;
        assert!(!refusals.is_empty() || !adaptations.is_empty(), "{name}");
        let lines = refusals.iter().map(|of| format!("{}\n", of.display(&name)));
        let adapted = adaptations
            .iter()
            .map(|of| format!("adapted: {}\n", of.display(&name)));
        let said: String = lines.chain(adapted).collect();
        assert_file(&document.with_extension("txt"), &said);
    }
}
