//! The system calls of a program as strace saw them, with the bytes in them. Calls
//! that threads interrupted are put together again.

use std::collections::HashMap;

/// A system call, whole: `pwrite64` of `11</…/gateway.sqlite3-wal>, "…", 4096, 32) = 4096`.
pub struct Call<'a> {
    pub name: &'a str,
    pub arguments: String,
    /// The line of strace's output at which it began.
    pub began: usize,
    /// And at which it was done.
    pub ended: usize,
}

/// The calls in the output of `strace -f -y -o`.
pub fn calls(text: &str) -> Vec<Call<'_>> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, (thread, call)) in text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .enumerate()
    {
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (line, beginning));
        } else if let Some((_, end)) = call
            .split_once(" resumed>")
            .filter(|_| call.starts_with("<..."))
        {
            let (began, beginning) = unfinished.remove(thread).expect("a call resumed has begun");
            calls.extend(Call::new(
                &format!("{beginning}{end}"),
                beginning,
                began,
                line,
            ));
        } else {
            calls.extend(Call::new(call, call, line, line));
        }
    }
    calls
}

impl<'a> Call<'a> {
    fn new(whole: &str, beginning: &'a str, began: usize, ended: usize) -> Option<Self> {
        let (name, _) = beginning.split_once('(')?;
        let (_, arguments) = whole.split_once('(')?;
        Some(Self {
            name,
            arguments: arguments.to_owned(),
            began,
            ended,
        })
    }

    /// The number of the descriptor that it is about.
    pub fn descriptor(&self) -> &str {
        let number = self.arguments.split(['<', ',', ')']).next();
        number.expect("an argument")
    }

    /// The file that this descriptor is open on.
    pub fn file(&self) -> Option<&str> {
        let (_, file) = self.arguments.split_once('<')?;
        file.split('>').next()
    }

    /// The returned number, without the reason of an error.
    pub fn result(&self) -> Option<i64> {
        let (_, result) = self.arguments.rsplit_once(" = ")?;
        result.split([' ', '<']).next()?.parse().ok()
    }

    /// The strings among its arguments, and what stands behind the last.
    pub fn strings(&self) -> (Vec<Vec<u8>>, &str) {
        let mut strings = Vec::new();
        let mut rest = self.arguments.as_str();
        while let Some((_, string)) = rest.split_once('"') {
            let (bytes, behind) = unescaped(string);
            assert!(!behind.starts_with("..."), "cut short by strace: raise -s");
            strings.push(bytes);
            rest = behind;
        }
        (strings, rest)
    }
}

/// The bytes of a string as strace writes it, and what stands behind its end.
fn unescaped(text: &str) -> (Vec<u8>, &str) {
    let all = text.as_bytes();
    let mut bytes = Vec::with_capacity(all.len());
    let mut place = 0;
    loop {
        let byte = all[place];
        place += 1;
        match byte {
            b'"' => return (bytes, &text[place..]),
            b'\\' => {
                let (byte, length) = escaped(&all[place..]);
                bytes.push(byte);
                place += length;
            }
            byte => bytes.push(byte),
        }
    }
}

/// The byte for which these stand behind a backslash, and how many they are.
fn escaped(behind: &[u8]) -> (u8, usize) {
    let digits = behind
        .iter()
        .take(3)
        .take_while(|byte| (b'0'..=b'7').contains(byte));
    let digits: Vec<u8> = digits.map(|byte| byte - b'0').collect();
    if !digits.is_empty() {
        let byte = digits.iter().fold(0_u8, |byte, digit| byte * 8 + digit);
        return (byte, digits.len());
    }
    let byte = match behind[0] {
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0B,
        b'f' => 0x0C,
        b'r' => b'\r',
        itself => itself,
    };
    (byte, 1)
}
