//! Answers that are refused, and missing answers.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_answer_that_does_not_fit_its_question_is_trouble() {
    let file = texts(&vectors()["klf"]);
    let granted = |change: &dyn Fn(&mut Vec<String>)| {
        let mut file = file.clone();
        change(&mut file);
        json!({"answer": "granted", "key_load_file": file})
    };
    let of_another = |place: usize, text: &'static str| {
        move |file: &mut Vec<String>| {
            let record = Record::parse(&file[0]).unwrap();
            let mut fields: Vec<String> = record.fields().into_iter().map(str::to_owned).collect();
            fields[place] = text.to_owned();
            let record = Record::build("X.VKLOAD.RSP.1", fields).unwrap();
            file[0] = record.text().to_owned();
        }
    };
    let kmcid = "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850";
    let smid = "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642";
    let own = request().kmcid.to_string();
    let cases = [
        (granted(&of_another(0, kmcid)), "for the KMCID"),
        (granted(&of_another(1, smid)), "for the SMID"),
        (granted(&of_another(2, "20260301T120001Z")), "request of"),
        (
            granted(&of_another(4, "3")),
            "states 3 vending keys and has 2",
        ),
        (granted(&|file| file.swap(1, 2)), "order"),
        (granted(&|file| drop(file.remove(1))), "states 2"),
        (granted(&|file| file.truncate(1)), "cut short"),
        (granted(&|file| file.clear()), "cut short"),
        (granted(&|file| file.swap(0, 3)), "X.VKLOAD"),
        (granted(&|file| file[1].push('0')), "CRC"),
        (json!({"answer": "granted"}), "key_load_file"),
        (json!({"answer": "would-grant"}), "granted or refused"),
        (json!({"answer": "hello"}), "does not follow the protocol"),
        (
            json!({"answer": "refused", "refusal": {"code": "moon"}}),
            "an unknown value before column",
        ),
        (
            json!({"answer": "refused", "refusal": {"code": "kmc", "current": own}}),
            "named as the key to use",
        ),
        (
            json!({"answer": "refused", "refusal": {"code": "replayed"}, "request_id": "cd".repeat(16)}),
            "another request id",
        ),
        (
            json!({"answer": "refused", "refusal": {"code": "limit", "until": "20260301T000000Z"}}),
            "which has passed",
        ),
        (json!({"version": 2, "answer": "granted"}), "version 2"),
        (
            json!({"answer": "trouble", "reason": "no HSM\u{1b}[2J\nnow"}),
            "it is in trouble: no HSM\\u{1b}[2J\\nnow",
        ),
        (
            json!({"answer": "protocol-error", "error": "version", "reason": "1 is too old"}),
            "it refuses the question (version): 1 is too old",
        ),
        (
            json!({"answer": "trouble", "reason": "x".repeat(100_000)}),
            "in trouble",
        ),
    ];
    for (answer, part) in cases {
        let server = Server::answering(answer);
        assert_trouble(server.kms().issue(&issue_question()).await, &server, part);
    }
}

#[tokio::test]
async fn a_lie_about_an_update_is_trouble() {
    let file = texts(&vectors()["update"]);
    let signer = "0123456789ABCDEF";
    let cases = [
        (
            json!({"answer": "applied", "serial": 2, "signer": signer}),
            "that of the file 1",
        ),
        (
            json!({"answer": "applied", "serial": 1, "signer": "0"}),
            "16 upper-case",
        ),
        (
            json!({"answer": "already-applied", "serial": 2}),
            "that of the file 1",
        ),
        (
            json!({"answer": "update-refused", "refusal": {"code": "format", "reason": "a\nb"}}),
            "printable ASCII",
        ),
        (
            json!({"answer": "update-refused", "refusal": {"code": "format", "reason": "x".repeat(201)}}),
            "1 to 200",
        ),
    ];
    for (answer, part) in cases {
        let server = Server::answering(answer);
        let answer = server.kms().update(&update_question(&file)).await;
        assert_trouble(answer, &server, part);
    }
}

#[tokio::test]
async fn garbage_is_trouble() {
    let deep = vec![b'['; 100_000];
    let long = vec![b' '; connection::LONGEST_ANSWER + 7];
    let cases: [(&[u8], &str); 9] = [
        (b"", "closed the connection before the end"),
        (b"{\"version\": 1", "before the end"),
        (b"\n", "does not follow the protocol"),
        (b"HTTP/1.1 200 OK\r\n", "does not follow the protocol"),
        (b"\xff\xfe\x00\n", "does not follow the protocol"),
        (b"null\n", "does not follow the protocol"),
        (b"{\"version\":-1}\n", "does not follow the protocol"),
        (&deep, "before the end"),
        (&long, "longer than 1048576 bytes"),
    ];
    for (bytes, part) in cases {
        let server = Server::new(Manner::Says(bytes.to_vec()));
        assert_trouble(server.kms().issue(&issue_question()).await, &server, part);
    }
    let server = Server::new(Manner::Says([deep, vec![b'\n']].concat()));
    let answer = server.kms().issue(&issue_question()).await;
    assert_trouble(answer, &server, "does not follow the protocol");
}

#[tokio::test]
async fn who_is_not_there_or_does_not_answer_is_not_waited_for() {
    let mut server = Server::new(Manner::Silent);
    server.settings.answer_timeout = "50ms".parse().unwrap();
    let answer = server.kms().issue(&issue_question()).await;
    assert_trouble(answer, &server, "the answer took longer than 50ms");
    server.settings.acceptance_timeout = "20ms".parse().unwrap();
    let answer = server.kms().is_from_module(&request(), now()).await;
    assert_trouble(answer, &server, "kms.acceptance_timeout");

    std::fs::remove_file(server.kms().socket).unwrap();
    let answer = server.kms().public_key(now()).await;
    assert_trouble(answer, &server, "can't be connected to");
}

#[tokio::test]
async fn many_acceptances_end_at_their_limit_whatever_their_number() {
    let mut server = Server::new(Manner::Silent);
    server.settings.acceptance_timeout = "300ms".parse().unwrap();
    let kms = server.kms();
    let request = request();
    let begun = std::time::Instant::now();
    let many = (0..100).map(|_| kms.is_from_module(&request, now()));
    let half_way = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.asked.lock().unwrap().len()
    };
    let (answers, asked) = tokio::join!(futures_util::future::join_all(many), half_way);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(asked, ACCEPTANCES_AT_ONCE);
}
