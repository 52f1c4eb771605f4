//! The measuring: what runs, for how long, and how two contenders compare.

use std::time::Duration;

use cpu_time::ThreadTime;

/// CPU time of one contender in one round.
const SLICE: Duration = Duration::from_millis(20);

/// Something that is measured, and its URLs per CPU-second in each round so far.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    run: Box<dyn Fn(usize) + 'a>,
    calls_per_slice: usize,
    rates: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, run: impl Fn(usize) + 'a) -> Self {
        let mut contender = Self {
            name,
            run: Box::new(run),
            calls_per_slice: 500,
            rates: Vec::new(),
        };
        // Twice: the first pass also warms caches up.
        for _ in 0..2 {
            let slices = SLICE.as_secs_f64() / contender.seconds();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a number of calls needs no precision"
            )]
            {
                contender.calls_per_slice =
                    (contender.calls_per_slice as f64 * slices) as usize + 1;
            }
        }
        contender
    }

    /// CPU time of one slice.
    fn seconds(&self) -> f64 {
        let start = ThreadTime::now();
        (self.run)(self.calls_per_slice);
        start.elapsed().as_secs_f64()
    }

    pub(crate) fn measure(&mut self) {
        let seconds = self.seconds();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number of calls is far below 2^52"
        )]
        self.rates.push(self.calls_per_slice as f64 / seconds);
    }

    pub(crate) fn rate(&self) -> f64 {
        median(self.rates.clone())
    }

    /// How many times faster than another, within rounds.
    pub(crate) fn over(&self, other: &Self) -> f64 {
        median(
            self.rates
                .iter()
                .zip(&other.rates)
                .map(|(own, other)| own / other)
                .collect(),
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
