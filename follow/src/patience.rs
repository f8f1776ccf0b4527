//! How long to wait between two tries.

use std::time::Duration;

/// Pauses that grow until something is heard.
#[derive(Debug)]
pub(crate) struct Patience {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Patience {
    /// Begins with the first of these and grows up to the second.
    pub(crate) fn new((first, most): (Duration, Duration)) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next pause, no shorter than what the apiserver asks for. `jitter` is about 1.
    pub(crate) fn next(&mut self, after: Duration, jitter: f64) -> Duration {
        let pause = self.next.max(after).mul_f64(jitter);
        self.next = self.most.min(self.next * 2);
        pause.max(after)
    }

    /// The pause where nothing has failed.
    pub(crate) fn first(&self) -> Duration {
        self.first
    }

    /// A try has lasted so long; longer than any pause, it is as good as a word: nothing may have happened.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time >= self.most {
            self.renew();
        }
    }

    /// Something was heard.
    pub(crate) fn renew(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_grow_until_something_is_heard() {
        let mut patience = Patience::new((seconds(1), seconds(5)));
        let next = |patience: &mut Patience| patience.next(Duration::ZERO, 1.0);
        assert_eq!(
            [(); 5].map(|()| next(&mut patience)),
            [1, 2, 4, 5, 5].map(seconds)
        );
        patience.renew();
        assert_eq!(next(&mut patience), seconds(1));
        assert_eq!(patience.next(Duration::ZERO, 1.2), Duration::from_millis(2_400));
    }

    #[test]
    fn pauses_begin_anew_after_a_try_that_outlasts_them() {
        let mut patience = Patience::new((seconds(1), seconds(5)));
        patience.next(Duration::ZERO, 1.0);
        patience.lasted(seconds(4));
        assert_eq!(patience.next(Duration::ZERO, 1.0), seconds(2));
        patience.lasted(seconds(5));
        assert_eq!(patience.next(Duration::ZERO, 1.0), seconds(1));
    }

    #[test]
    fn an_apiserver_that_names_a_time_is_left_alone_for_as_long() {
        let mut patience = Patience::new((seconds(1), seconds(5)));
        assert_eq!(patience.next(seconds(8), 0.8), seconds(8));
        assert_eq!(patience.next(seconds(1), 0.8), Duration::from_millis(1_600));
        assert_eq!(patience.next(seconds(10), 1.2), seconds(12));
    }
}
