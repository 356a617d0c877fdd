//! When a file may have changed: what inotify says of its folder, on Linux.

#[cfg(target_os = "linux")]
pub(super) use self::linux::Changes;

/// Where nothing tells of changes: the caller looks at the file now and then.
#[cfg(not(target_os = "linux"))]
pub(super) struct Changes;

#[cfg(not(target_os = "linux"))]
impl Changes {
    pub(super) fn of(_path: &std::path::Path) -> Self {
        Self
    }

    pub(super) async fn next(&mut self) {
        std::future::pending().await
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::path::{Path, PathBuf};

    use futures_util::StreamExt;
    use inotify::{EventMask, EventStream, Inotify, WatchMask};

    pub(in super::super) struct Changes {
        folder: PathBuf,
        events: Option<EventStream<Vec<u8>>>,
    }

    impl Changes {
        /// Watches the folder of a file. Where that cannot be had now, it is tried again by [`Changes::next`].
        pub(in super::super) fn of(path: &Path) -> Self {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut changes = Self { folder: folder.to_owned(), events: None };
            changes.watch();
            changes
        }

        /// Waits for something to happen in the folder; for ever where it cannot be watched.
        pub(in super::super) async fn next(&mut self) {
            if self.events.is_none() && !self.watch() {
                return std::future::pending().await;
            }
            let Some(events) = &mut self.events else { return std::future::pending().await };
            match events.next().await {
                Some(Ok(event)) if !event.mask.intersects(EventMask::IGNORED | EventMask::MOVE_SELF) => {}
                // The folder is another one now, or is not there: look anew.
                _ => self.events = None,
            }
            while let Some(events) = &mut self.events
                && let Some(more) = futures_util::FutureExt::now_or_never(events.next())
            {
                // What came in one go is one change.
                if !matches!(more, Some(Ok(ref event)) if !event.mask.contains(EventMask::IGNORED)) {
                    self.events = None;
                }
            }
        }

        fn watch(&mut self) -> bool {
            match stream(&self.folder) {
                Ok(events) => self.events = Some(events),
                Err(error) => {
                    let folder = self.folder.display();
                    tracing::debug!(%folder, %error, "changes of the folder are not told; it is looked at now and then");
                }
            }
            self.events.is_some()
        }
    }

    /// The folder and not the file: editors, and the mount of a ConfigMap, put another file in its place.
    fn stream(folder: &Path) -> io::Result<EventStream<Vec<u8>>> {
        let inotify = Inotify::init()?;
        let what = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ATTRIB;
        inotify.watches().add(folder, what)?;
        inotify.into_event_stream(vec![0; ROOM_FOR_EVENTS])
    }

    /// Some dozens of events; at least one with the longest name has to fit.
    const ROOM_FOR_EVENTS: usize = 4096;
}
