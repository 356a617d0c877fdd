//! The fixtures themselves, proved on every OTP of the matrix.

mod common;

use common::{Beam, BeamOptions, Epmd, Iex, Kube, LATER, SOON, gusset, otp, require};

#[tokio::test]
async fn a_node_of_every_release_evaluates_and_reports_what_raised() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        assert_eq!(beam.value("erlang:system_info(otp_release)").await, format!("{:?}", otp.release.to_string()));
        assert_eq!(beam.value("node()").await, beam.atom());
        assert_eq!(beam.eval_int("A = 20, A + 22.").await, 42);
        assert_eq!(beam.value("[228, 955]").await, "\"äλ\"");
        assert_eq!(beam.value("<<\"ä\"/utf8>>").await, "<<\"ä\"/utf8>>");
        assert!(beam.eval_bool("is_list(gusset_fixture:kinds())").await);
        let raised = beam.eval("error(why)").await.expect_err("raises").to_string();
        assert!(raised.contains("{error,why}"), "{raised}");
        let died = beam.eval("exit(self(), kill), receive never -> ok end").await.expect_err("dies").to_string();
        assert!(died.contains("evaluator_died"), "{died}");
        assert!(beam.eval("syntax error").await.is_err());
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn a_session_keeps_variables_and_mailbox() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.eval_in("one", "X = 1, self() ! hello").await.expect("binds");
    assert_eq!(beam.eval_in("one", "receive M -> {X, M} after 0 -> nothing end").await.as_deref(), Ok("{1,hello}"));
    assert!(beam.eval_in("two", "X").await.is_err());
    beam.value("gusset_fixture:collect(kept)").await;
    beam.value("kept ! 1, kept ! 2").await;
    assert_eq!(beam.value("gusset_fixture:collected(kept, 2, 5000)").await, "[1,2]");
}

#[tokio::test]
async fn nodes_of_different_releases_meet_and_notice_a_kill() {
    let all = otp::available();
    for pair in all.windows(2) {
        let epmd = Epmd::start(&pair[0]).await;
        let older = Beam::start(&pair[0], &epmd, BeamOptions::default()).await;
        let mut newer = Beam::start(&pair[1], &epmd, BeamOptions::default()).await;
        let mut names = epmd.names().await.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        names.sort();
        let short = |beam: &Beam| beam.node_name.split('@').next().unwrap_or_default().to_owned();
        assert_eq!(names, [short(&older), short(&newer)]);

        let prepare = "fun() -> net_kernel:monitor_nodes(true) end";
        older.value(&format!("gusset_fixture:collect(seen, {prepare})")).await;
        assert_eq!(older.value(&format!("net_adm:ping({})", newer.atom())).await, "pong");
        assert_eq!(newer.value("nodes()").await, format!("[{}]", older.atom()));
        newer.kill9().await;
        let seen = older.value("gusset_fixture:collected(seen, 2, 5000)").await;
        assert_eq!(seen, format!("[{{nodeup,{0}}},{{nodedown,{0}}}]", newer.atom()));
        assert!(newer.eval("node()").await.is_err());
    }
}

#[tokio::test]
async fn a_frozen_node_is_late_and_answers_again() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.sigstop();
    let late = beam.eval_within("1", std::time::Duration::from_millis(300)).await;
    assert!(matches!(late, Err(common::BeamError::Late { .. })), "{late:?}");
    beam.sigcont();
    assert_eq!(beam.value("2").await, "2");
    assert!(beam.stop().await.success());
}

#[tokio::test]
async fn a_condition_that_never_holds_is_named_with_its_last_value() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.wait_until("nodes() =:= []", SOON).await.expect("holds");
    let error = beam.wait_until("nodes()", std::time::Duration::from_millis(50)).await.expect_err("never true");
    assert!(error.to_string().contains("{not_within,50,last_value,[]}"), "{error}");
}

#[tokio::test]
async fn a_log_with_an_error_is_not_clean() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        beam.value("spawn(fun() -> error(logged_on_purpose) end)").await;
        let logged = beam.output().line_with("logged_on_purpose", SOON).await;
        assert!(logged.is_ok(), "{logged:?}");
        assert!(beam.settled_log().await.contains("Error in process"));
    }
}

#[tokio::test]
async fn a_killed_epmd_comes_back_on_its_port() {
    let otp = require!(otp::get(25));
    let mut epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    assert_eq!(epmd.names().await.len(), 1);
    epmd.kill().await;
    assert_eq!(beam.value("net_adm:names()").await, "{error,address}");
    epmd.restart().await;
    assert_eq!(beam.value("net_adm:names()").await, "{ok,[]}");
}

#[tokio::test]
async fn hidden_short_and_other_addresses_are_as_asked() {
    for otp in otp::available() {
        let address = "127.0.0.7".parse().expect("an address");
        let epmd = Epmd::start_on(&otp, &[address]).await;
        let hidden = Beam::start(&otp, &epmd, BeamOptions::default().hidden().address(address)).await;
        let visible = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        assert_eq!(visible.value(&format!("net_adm:ping({})", hidden.atom())).await, "pong");
        assert_eq!(visible.value("{nodes(), nodes(hidden)}").await, format!("{{[],[{}]}}", hidden.atom()));
        let short = Beam::start(&otp, &epmd, BeamOptions::default().short()).await;
        assert!(short.node_name.ends_with("@localhost"), "{}", short.node_name);
    }
}

#[tokio::test]
async fn nodes_meet_by_host_names_of_their_own_on_a_fixed_port_without_epmd() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let port = common::PortLease::new();
        let options = |name: &str, address: &str| {
            let hosts = BeamOptions::named(name)
                .host([127, 0, 0, 8], "127-0-0-8.default.pod.cluster.local")
                .host([127, 0, 0, 9], "127-0-0-9.default.pod.cluster.local");
            hosts.address(address.parse().expect("an address")).fixed_port(port.port())
        };
        let one = Beam::start(&otp, &epmd, options("app@127-0-0-8.default.pod.cluster.local", "127.0.0.8")).await;
        let two = Beam::start(&otp, &epmd, options("app@127-0-0-9.default.pod.cluster.local", "127.0.0.9")).await;
        assert_eq!(one.value(&format!("net_adm:ping({})", two.atom())).await, "pong", "OTP {}", otp.release);
        assert_eq!(epmd.names().await, []);
    }
}

#[tokio::test]
async fn iex_in_a_terminal_answers_what_is_typed() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let mut iex = Iex::start(&otp, &epmd, BeamOptions::default()).await;
        iex.ask(&format!("Node.connect(:{:?})", beam.node_name), "true", SOON).await;
        iex.ask("Node.list", &format!("[:{:?}]", beam.node_name), SOON).await;
        beam.wait_until(&format!("nodes() =:= ['{}']", iex.node_name), SOON).await.expect("sees iex");
    }
}

#[tokio::test]
async fn the_binary_runs_in_a_home_of_its_own() {
    let gusset = require!(gusset::command(["--version"]));
    let home = gusset.home().to_owned();
    assert!(home.exists());
    let finished = gusset.finish(LATER).await;
    assert!(finished.status.success(), "{finished:?}");
    assert!(!home.exists());
}

#[tokio::test]
async fn an_api_server_is_found_or_started_and_stopped() {
    let kube = require!(Kube::start().await);
    let text = std::fs::read_to_string(kube.kubeconfig()).expect("a kubeconfig");
    assert!(text.contains("server: http"), "{text}");
    let path = kube.kubeconfig().to_owned();
    let private = kube.is_private();
    drop(kube);
    assert_eq!(path.exists(), !private);
}
