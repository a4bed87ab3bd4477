//! Copies in and out, and views.

use super::*;

#[test]
fn ranges_are_checked() {
    let _leaks = leaks();
    let segment = Segment::new(10).unwrap();
    let view = segment.view().unwrap();
    segment.write(0, b"0123456789").unwrap();
    segment.write(10, b"").unwrap();
    assert_eq!(text_of(&segment, 9, 1), "9");
    for (at, len) in [(0, 11), (10, 1), (11, 0), (usize::MAX, 2), (5, 6)] {
        let mut bytes = vec![b'x'; len];
        let errors = [segment.read(at, &mut bytes), view.read(at, &mut bytes), segment.write(at, &bytes)];
        for error in errors.map(Result::unwrap_err) {
            let text = format!("the range of {len} bytes from {at} on is not acceptable: there are 10 bytes");
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(bytes, vec![b'x'; len]);
    }
    assert_eq!(text_of(&segment, 0, 10), "0123456789");
}

#[test]
fn a_view_shows_what_is_written_and_cannot_write() {
    let _leaks = leaks();
    let segment = Segment::new(100).unwrap();
    let view = segment.view().unwrap();
    let look = |view: View, news: Receiver<()>, seen: Sender<String>| {
        while news.recv().is_ok() {
            let mut bytes = [0; 4];
            view.read(96, &mut bytes).unwrap();
            seen.send(String::from_utf8_lossy(&bytes).into_owned()).unwrap();
        }
        (map_for_writing(&view), rustix::io::pwrite(&view, b"x", 0)) == (Err(Errno::ACCESS), Err(Errno::BADF))
    };
    let ((news, has_news), (seen, has_seen)) = (pipe().unwrap(), pipe().unwrap());
    let child = exec().spawn(look, (view, has_news, seen)).unwrap();
    for text in ["news", "more"] {
        segment.write(96, text.as_bytes()).unwrap();
        news.send(()).unwrap();
        assert_eq!(has_seen.recv().unwrap(), text);
    }
    // It is no writer.
    let frozen = segment.freeze().unwrap();
    news.send(()).unwrap();
    assert_eq!(has_seen.recv().unwrap(), "more");
    drop(news);
    assert!(child.join().unwrap());
    assert_eq!(&frozen[96..], b"more");
}

#[test]
fn a_view_is_no_segment() {
    let _leaks = leaks();
    let segment = Segment::new(100).unwrap();
    let view = segment.view().unwrap();
    let error = Packed::new(&view).unwrap().open::<Segment>().unwrap_err().to_string();
    assert!(error.contains("it is not open for reading and writing"), "{error}");
    let again = Packed::new(&view).unwrap().open::<View>().unwrap();
    drop(segment);
    again.read(0, &mut [0]).unwrap();
    assert_eq!(mappings(&view), 1);
}

#[test]
fn what_is_dropped_is_gone() {
    let _leaks = leaks();
    let segment = Segment::new(1 << 20).unwrap();
    let (view, fd) = (segment.view().unwrap(), segment.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(mappings(&fd), 2);
    drop((segment, view));
    assert_eq!(mappings(&fd), 0);
}

/// A guard gives `&mut`, and whoever writes beside it, by the segment, would make a liar of it.
#[test]
fn bytes_are_not_copied_where_objects_stand() {
    let in_use =
        |result: ipc_shm::Result<()>| assert!(matches!(result, Err(Error::InUse { .. })), "{result:?}");
    let value = Value::new(1_u64).unwrap();
    let segment = value.segment().clone();
    let mut guard = value.lock().unwrap();
    *guard = 2;
    in_use(segment.write(104, &7_u64.to_ne_bytes()));
    in_use(segment.read(104, &mut [0; 8]));
    assert_eq!(*guard, 2);
    // Nor by a view, whether it was there before or came.
    let early = segment.view().unwrap();
    in_use(early.read(104, &mut [0; 8]));
    in_use(View::from_fd(early.into_fd().unwrap()).unwrap().read(104, &mut [0; 8]));
    drop(guard);
    // Nor by another handle of it, that came in another way, nor when the object's handles are gone.
    let same = Segment::from_fd(segment.clone().into_fd().unwrap()).unwrap();
    drop(value);
    in_use(same.write(0, &[1]));
    let array = Array::<u64>::zeroed(4096).unwrap();
    in_use(Arena::in_segment(array.segment().clone()).map(drop));

    // What was bytes becomes an object once.
    let segment = Segment::new(1 << 16).unwrap();
    let view = segment.view().unwrap();
    view.read(0, &mut [0; 8]).unwrap();
    segment.write(0, b"bytes").unwrap();
    let arena = Arena::in_segment(segment.clone()).unwrap();
    in_use(segment.write(0, b"bytes"));
    in_use(Arena::in_segment(segment).map(drop));
    in_use(view.read(0, &mut [0; 8]));
    assert!(Value::new_with(1_u8, &arena).is_ok());
}

/// A copy comes to an end, and who receives an object waits for that: what came with the object in its message would be lost otherwise.
#[test]
fn an_object_is_received_while_bytes_are_copied() {
    let _leaks = leaks();
    for _ in 0..20 {
        let value = Value::new(7_u64).unwrap();
        let (send, receive) = pipe::<Value<u64>>().unwrap();
        // In a process that has the segment alone: nothing of it was claimed there yet.
        let receives = |segment: Segment, values: Receiver<Value<u64>>| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut bytes = vec![0; segment.len()];
                    while segment.read(0, &mut bytes).is_ok() {}
                });
                let value = values.recv().map_err(|error| error.to_string());
                value.map(|value| value.get().unwrap())
            })
        };
        let child = exec().spawn(receives, (value.segment().clone(), receive)).unwrap();
        send.send(value).unwrap();
        assert_eq!(child.join().unwrap(), Ok(7));
    }
}
