//! A value that tasks change and wait for.

use tokio::sync::watch;

/// A value with those that wait for it. Changes are short and never await.
#[derive(Debug)]
pub(crate) struct Watched<T>(watch::Sender<T>);

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(watch::Sender::new(value))
    }

    /// Changes the value, and wakes those that wait for it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut result = None;
        self.0.send_modify(|value| result = Some(change(value)));
        result.expect("the change has run")
    }

    /// Reads the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.borrow())
    }

    /// Waits until `is` holds. It may hold no longer when the caller goes on.
    pub(crate) async fn wait_for(&self, is: impl FnMut(&T) -> bool) {
        self.0.subscribe().wait_for(is).await.expect("the sender is this value's own");
    }

    /// Waits until `take` returns something.
    pub(crate) async fn take<R>(&self, mut take: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut seen = self.0.subscribe();
        loop {
            // Waiting is not a change: it must not wake the others that wait.
            let mut taken = None;
            self.0.send_if_modified(|value| {
                taken = take(value);
                taken.is_some()
            });
            if let Some(taken) = taken {
                return taken;
            }
            seen.changed().await.expect("the sender is this value's own");
        }
    }
}
