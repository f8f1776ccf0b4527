//! Every failure of the kernel's after every other, in whatever the agent does: it comes to what is asked all the same.
//!
//! What becomes of a node is judged by what the API asks, by what the kernel holds, and by the calls that were made, none
//! of which passes through the planner (`faults/check.rs`). What happens on a node stands in `faults/course.rs`, and how
//! a gateway is called in `faults/node.rs` alone.
//!
//! The long mode, with `CULVERT_SOAK=1`, has the second failure at every later call, and a third.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::panic, reason = "so does a fact that does not hold")]

#[path = "faults/check.rs"]
mod check;
#[path = "faults/course.rs"]
mod course;
#[path = "faults/node.rs"]
mod node;

use std::thread;

use culvert_node_agent::kernel::fake::{FAILURES, Failure};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use course::{COURSES, Course};
use node::Node;

/// Ticks within which a gateway comes to what is asked: a full interface is tried once a minute, and memory may end
/// three times.
const TICKS: usize = 60;

/// A call, by its number in the course, and what becomes of it.
type Plan = [(usize, Failure)];

/// One course, run as often as there are failures to meet.
struct Bed {
    course: &'static Course,
    runtime: Runtime,
    folder: TempDir,
    runs: usize,
}

impl Bed {
    fn new(course: &'static Course) -> Self {
        Self {
            course,
            runtime: Builder::new_current_thread().build().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            runs: 0,
        }
    }

    /// Runs the course with these failures; how many calls it took.
    fn run(&mut self, failures: &Plan) -> usize {
        self.runs += 1;
        let mut node = Node::new(self.folder.path());
        self.runtime.block_on(async {
            let course = self.course;
            (course.prepare)(&mut node);
            settle(&mut node, course, &[]).await;
            let before = node.kernel.made();
            for (at, failure) in failures {
                node.kernel.fail(before + at, *failure);
            }
            for step in course.steps {
                step(&mut node);
                settle(&mut node, course, failures).await;
            }
            node.kernel.made() - before
        })
    }

    /// All pairs of which the second failure meets one of the calls after the first.
    fn pairs(&mut self, every: bool) {
        for at in 0..self.run(&[]) {
            for first in FAILURES {
                let calls = if every { self.run(&[(at, first)]) } else { at + 2 };
                for then in at + 1..calls {
                    for second in FAILURES {
                        self.run(&[(at, first), (then, second)]);
                    }
                }
            }
        }
    }

    /// Three failures, one right after the other.
    fn triples(&mut self) {
        for at in 0..self.run(&[]) {
            for first in FAILURES {
                for second in FAILURES {
                    for third in FAILURES {
                        self.run(&[(at, first), (at + 1, second), (at + 2, third)]);
                    }
                }
            }
        }
    }
}

/// Ticks until all is as asked, and a tick changes nothing more.
async fn settle(node: &mut Node, course: &Course, failures: &Plan) {
    let mut wrong = None;
    for _ in 0..TICKS {
        let before = check::Before::of(node);
        let result = node.tick().await;
        let calls = node.kernel.calls_from(before.calls);
        if let Err(fault) = before.judge(node, course, failures, &calls) {
            panic!("{}, {failures:?}: {fault}; the tick: {result:?}", course.name);
        }
        wrong = match result {
            Err(error) => Some(error),
            Ok(()) if calls.iter().any(check::changes) => Some("the tick still changes something".into()),
            Ok(()) => check::whole(node).err(),
        };
        if wrong.is_none() {
            return;
        }
    }
    panic!("{}, {failures:?}: {} ticks, and {wrong:?}", course.name, TICKS);
}

#[test]
fn every_failure_after_every_failure_converges_and_removes_nothing_on_an_unclear_answer() {
    let is_long = std::env::var_os("CULVERT_SOAK").is_some();
    let runs: usize = thread::scope(|scope| {
        let threads = COURSES.each_ref().map(|course| {
            scope.spawn(move || {
                let mut bed = Bed::new(course);
                bed.pairs(is_long);
                if is_long {
                    bed.triples();
                }
                println!("{}: {} runs", course.name, bed.runs);
                bed.runs
            })
        });
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    println!("{runs} runs, each with its failures");
}
