//! Each file of `refusals/` is rejected with the diagnostics of the `.txt` file of the same name.

use std::fs;

use arklow_codegen::generate;

use super::{assert_file, entries, folder, options};

#[test]
fn refusals_say_where_what_and_what_to_do() {
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
        let refused = generate(&text, &options()).err();
        let refused = refused.unwrap_or_else(|| panic!("{name} is carried"));
        let said: String = refused
            .refusals
            .iter()
            .map(|refusal| format!("{}\n", refusal.display(&name)))
            .collect();
        assert_file(&document.with_extension("txt"), &said);
    }
}
