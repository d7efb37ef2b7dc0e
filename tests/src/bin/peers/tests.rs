use super::*;

fn parse(args: &[&str]) -> Result<Option<Options>> {
    options(args.iter().map(ToString::to_string))
}

#[test]
fn arguments() {
    let some = |runs, print, only| Some(Options { runs, print, only });
    assert_eq!(parse(&[]).unwrap(), some(5, false, None));
    assert_eq!(
        parse(&["2", "--print", "--only", "bare"]).unwrap(),
        some(2, true, Some(Part::Bare))
    );
    assert_eq!(
        parse(&["--only", "pc"]).unwrap(),
        some(5, false, Some(Part::Pc))
    );
    assert_eq!(parse(&["3", "--help"]).unwrap(), None);
    for bad in [&["0"][..], &["101"], &["x"], &["--only"], &["--only", "x"]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}
