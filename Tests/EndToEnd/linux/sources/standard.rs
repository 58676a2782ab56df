// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What Rust's standard library does on Linux: panics caught and not, threads, channels, maps with random seeds, files.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::sync::{mpsc, Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};
use std::{env, fs, io, panic, process, thread};

fn main() {
    let words: HashMap<String, usize> =
        io::stdin().lock().lines().map(|line| line.unwrap()).map(|line| { let n = line.len(); (line, n) }).collect();
    let sorted: BTreeMap<_, _> = words.iter().collect();
    for (word, length) in &sorted { println!("{word}: {length}"); }

    let caught = panic::catch_unwind(|| { let empty: Vec<i32> = vec![]; empty[3] });
    println!("caught {}", caught.is_err());

    let (sender, receiver) = mpsc::channel();
    let workers: Vec<_> = (0..8u64).map(|n| {
        let sender = sender.clone();
        thread::spawn(move || { for i in 0..100 { sender.send(n * i).unwrap(); } n })
    }).collect();
    drop(sender);
    println!("sum {}", receiver.iter().sum::<u64>());
    println!("joined {}", workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>());

    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let other = pair.clone();
    let thread = thread::Builder::new().name("waiter".into()).spawn(move || {
        let mut value = other.0.lock().unwrap();
        while *value < 5 { value = other.1.wait(value).unwrap(); }
        *value * 2
    }).unwrap();
    for _ in 0..5 { *pair.0.lock().unwrap() += 1; pair.1.notify_one(); }
    println!("waited {}", thread.join().unwrap());
    let value = pair.0.lock().unwrap();
    println!("timed out {}", pair.1.wait_timeout(value, Duration::from_millis(2)).unwrap().1.timed_out());
    println!("failed thread {}", thread::spawn(|| panic!("in a thread")).join().is_err());

    let begin = Instant::now();
    thread::sleep(Duration::from_millis(3));
    println!("slept {}", begin.elapsed() >= Duration::from_millis(3));

    fs::create_dir_all("made/here").unwrap();
    let mut file = fs::File::options().read(true).write(true).create(true).open("made/here/file").unwrap();
    write!(file, "some text").unwrap();
    file.seek(SeekFrom::Start(5)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    println!("read {text}, {} bytes", fs::metadata("made/here/file").unwrap().len());
    fs::rename("made/here/file", "made/moved").unwrap();
    let mut names: Vec<_> = fs::read_dir("made").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    println!("{names:?}, {:?}", fs::read("made/none").map_err(|error| error.kind()));
    fs::remove_dir_all("made").unwrap();
    println!("{:?} {:?}", env::var("HOME"), env::args().skip(1).collect::<Vec<_>>());
    let shared = RwLock::new(vec![1, 2, 3]);
    thread::scope(|scope| { for _ in 0..4 { scope.spawn(|| shared.write().unwrap().push(4)); } });
    println!("{:?}", shared.read().unwrap());
    if env::args().count() > 1 { process::exit(9) }
    panic!("the end");
}
