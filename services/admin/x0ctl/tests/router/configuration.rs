use std::collections::HashMap;

use zbus::Variant;

use super::bench::Bench;

fn document(hostname: &str) -> String {
    format!("[system]\nhostname = \"{hostname}\"\n")
}

impl Bench {
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_change_is_confirmed_taken_back_and_repeated() {
    let bench = Bench::new();
    bench.start_store();
    let one = bench.file("one.toml", &document("one"));
    let said = bench.says(&["config", "apply", &one, "--yes", "--reason", "first"]);
    assert!(said.contains("+ system.hostname: \"one\""), "{said}");
    assert!(said.contains("x0ctl config confirm"), "{said}");
    let pending = bench.json(&["config", "status"])["pending"]["generation"].clone();
    assert!(pending.is_u64());
    bench.says(&["config", "confirm"]);
    assert_eq!(bench.says(&["config", "show"]), document("one"));

    bench.says(&["config", "set", "system.hostname", "two", "--yes"]);
    assert_eq!(bench.says(&["config", "show"]), document("two"));
    // One at a time.
    let answer = bench.x0ctl(&["config", "apply", &one, "--yes"]);
    assert_eq!(answer.code, 1, "{}", answer.err);
    bench.says(&["config", "cancel"]);
    assert_eq!(bench.says(&["config", "show"]), document("one"));
    assert_eq!(bench.x0ctl(&["config", "confirm"]).code, 6);

    bench.says(&["config", "set", "system.hostname", "three", "--yes"]);
    bench.says(&["config", "confirm"]);
    let to = pending.to_string();
    bench.says(&["config", "rollback", &to, "--yes"]);
    bench.says(&["config", "confirm"]);
    assert_eq!(bench.says(&["config", "show"]), document("one"));
    let history = bench.says(&["config", "history"]);
    for word in ["first", "cancelled", "confirmed", "(text of "] {
        assert!(history.contains(word), "{word}: {history}");
    }
    let events = bench.says(&["events"]);
    assert!(
        events.contains("config.apply") && events.contains("who=system"),
        "{events}"
    );
}

#[test]
fn mistakes_change_nothing_and_say_where() {
    let bench = Bench::new();
    bench.start_store();
    let bad = bench.file("bad.toml", "[system]\nhostnam = \"x\"\n");
    for command in [
        &["config", "check", &bad][..],
        &["config", "apply", &bad, "--yes"],
    ] {
        let answer = bench.x0ctl(command);
        assert_eq!(answer.code, 5, "{}{}", answer.out, answer.err);
        assert!(answer.out.contains("line 2, column 1"), "{}", answer.out);
    }
    let problems = bench.x0ctl(&["config", "check", &bad, "--json"]).out;
    let problems: serde_json::Value = serde_json::from_str(&problems).unwrap();
    assert_eq!(problems["problems"][0]["line"], 2);
    assert_eq!(bench.x0ctl(&["config", "check", "/nonexistent"]).code, 6);
    assert_eq!(bench.x0ctl(&["config", "show", "99"]).code, 6);
}

#[test]
fn a_connection_from_before_the_change_does_not_confirm_it() {
    let bench = Bench::new();
    bench.start_store();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let old = connect(&bench).await;
        let options = HashMap::from([("confirm-within", Variant::from(60_u32))]);
        let body = (document("one"), options);
        let reply = call(&old, "Apply", &body).await.unwrap();
        let generation: u64 = reply.body().deserialize().unwrap();
        let confirm = (generation, HashMap::<&str, Variant<'_>>::new());
        let error = call(&old, "Confirm", &confirm).await.unwrap_err();
        let zbus::Error::MethodError(name, Some(text), _) = error else {
            panic!("{error}");
        };
        assert_eq!(name.as_str(), "org.x0tta6bl4.Error.Refused");
        assert!(text.contains("confirm-over-a-new-connection"), "{text}");
        let new = connect(&bench).await;
        call(&new, "Confirm", &confirm).await.unwrap();
        // A misspelt deadline is not a change without one.
        let options = HashMap::from([("confirm-whitin", Variant::from(60_u32))]);
        let error = call(&new, "Apply", &(document("two"), options))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("InvalidArgument"), "{error}");
    });
}

async fn connect(bench: &Bench) -> zbus::Connection {
    let address = bench.address();
    let builder = zbus::connection::Builder::address(address.as_str());
    builder.build().await.unwrap()
}

async fn call(
    connection: &zbus::Connection,
    method: &str,
    body: &(impl serde::Serialize + zbus::Type),
) -> zbus::Result<zbus::Message> {
    let name = "org.x0tta6bl4.Config1";
    connection
        .call_method(Some(name), "/org/x0tta6bl4", Some(name), method, body)
        .await
}

#[test]
fn a_backup_comes_back_and_half_of_one_does_not() {
    let bench = Bench::new();
    bench.start_store();
    let one = bench.file("one.toml", &document("one"));
    bench.says(&["config", "apply", &one, "--yes"]);
    bench.says(&["config", "confirm"]);
    let passphrase = bench.file("passphrase", "correct horse\n");
    let file = bench.path("backup.age");
    let file = file.to_str().unwrap();
    bench.says(&["store", "backup", file, "--passphrase-file", &passphrase]);
    assert!(
        std::fs::read(file)
            .unwrap()
            .starts_with(b"age-encryption.org/v1")
    );
    let restore = |file: &str, passphrase: &str| {
        bench.x0ctl(&[
            "store",
            "restore",
            file,
            "--yes",
            "--passphrase-file",
            passphrase,
        ])
    };
    let whole = std::fs::read(file).unwrap();
    std::fs::write(bench.path("half"), &whole[..whole.len() / 2]).unwrap();
    let half = restore(bench.path("half").to_str().unwrap(), &passphrase);
    assert_eq!(half.code, 1, "{}", half.err);
    let wrong = bench.file("wrong", "wrong\n");
    assert!(restore(file, &wrong).err.contains("passphrase"));
    let answer = restore(file, &passphrase);
    assert_eq!(answer.code, 0, "{}", answer.err);
    bench.says(&["store", "verify"]);

    let diag = bench.path("diag.tar.gz");
    bench.says(&["diag", diag.to_str().unwrap()]);
    let listing = std::process::Command::new("tar")
        .arg("tzf")
        .arg(&diag)
        .output()
        .unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    for name in [
        "status.json",
        "service/alpha.log",
        "events.json",
        "missing.txt",
    ] {
        assert!(listing.contains(name), "{name}: {listing}");
    }
}
