use super::bench::Bench;

#[test]
fn services_over_the_bus_and_past_it() {
    let mut bench = Bench::new();
    let list = bench.says(&["service", "list"]);
    assert!(list.contains("alpha") && list.contains("ready"), "{list}");
    let before = bench.json(&["service", "show", "beta"]);
    bench.says(&["service", "restart", "beta"]);
    bench.eventually("beta runs again", || {
        let now = bench.json(&["service", "show", "beta"]);
        (now["state"] == "ready" && now["pid"] != before["pid"]).then_some(())
    });
    bench.says(&["service", "stop", "beta"]);
    assert_eq!(bench.x0ctl(&["service", "stop", "nobody"]).code, 6);
    assert!(bench.says(&["boot", "blame"]).contains("alpha"));
    bench.says(&["service", "logs", "alpha"]);
    // There is no store yet: an error at once, and one that names it.
    let answer = bench.x0ctl(&["config", "show"]);
    assert_eq!(answer.code, 4, "{}", answer.err);
    assert!(answer.err.contains("store"), "{}", answer.err);

    bench.stop_bus();
    let answer = bench.x0ctl(&["status"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(answer.err.contains("asking PID 1 itself"), "{}", answer.err);
    bench.says(&["service", "start", "beta"]);
    assert_eq!(bench.x0ctl(&["config", "show"]).code, 4);

    bench.start_bus();
    bench.eventually("admin is back on the new bus", || {
        let answer = bench.x0ctl(&["status"]);
        (answer.code == 0 && answer.err.is_empty()).then_some(())
    });
}

#[test]
fn a_stranger_is_told_which_rule_refuses() {
    let bench = Bench::new();
    for command in [
        &["status"][..],
        &["service", "restart", "alpha"],
        &["config", "show"],
    ] {
        let answer = bench.x0ctl_as(65_534, command);
        assert_eq!(answer.code, 3, "{command:?}: {}{}", answer.out, answer.err);
        assert!(
            answer.err.contains("policy `nothing-permits-it`"),
            "{}",
            answer.err
        );
    }
}

#[test]
fn other_tools_see_the_objects() {
    let bench = Bench::new();
    let tool = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{program}: {text}");
        text
    };
    let address = format!("--address={}", bench.address());
    let name = "org.x0tta6bl4.Init1";
    let alpha = "/org/x0tta6bl4/service/alpha";
    let seen = tool("busctl", &[&address, "introspect", name, alpha]);
    assert!(
        seen.contains(".State") && seen.contains("\"ready\""),
        "{seen}"
    );
    let bus = bench.address();
    let seen = tool(
        "gdbus",
        &[
            "call",
            "--address",
            &bus,
            "--dest",
            name,
            "--object-path",
            "/org/x0tta6bl4",
            "--method",
            "org.freedesktop.DBus.ObjectManager.GetManagedObjects",
        ],
    );
    assert!(
        seen.contains(alpha) && seen.contains("'State': <'ready'>"),
        "{seen}"
    );
    let method = "org.x0tta6bl4.Service1.Restart";
    let seen = tool(
        "gdbus",
        &[
            "call",
            "--address",
            &bus,
            "--dest",
            name,
            "--object-path",
            alpha,
            "--method",
            method,
            "{}",
        ],
    );
    assert_eq!(seen.trim(), "()");
}
