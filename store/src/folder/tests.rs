use super::*;

fn payload(text: &'static str) -> Payload {
    vec![Bytes::from_static(text.as_bytes())]
}

fn files_in_writing(root: &Path) -> usize {
    fs::read_dir(root.join(WRITING)).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_conforms() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path().join("new/bucket")).unwrap();
    crate::conformance::check(Arc::new(store), "f/").await;
    assert_eq!(files_in_writing(&root.path().join("new/bucket")), 0);
}

#[tokio::test]
async fn objects_outlive_the_store_that_wrote_them() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path()).unwrap();
    let pieces = vec![
        Bytes::from_static(b"one "),
        Bytes::new(),
        Bytes::from_static(b"two"),
    ];
    store
        .put("ab12/c/o", pieces, PutMode::Create)
        .await
        .unwrap();
    drop(store);
    let store = FolderStore::open(root.path()).unwrap();
    assert_eq!(store.get("ab12/c/o").await.unwrap(), "one two");
    assert!(root.path().join("ab/ab12~c~o").is_file());
}

#[tokio::test]
async fn a_start_removes_what_dead_writers_left_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let first = FolderStore::open(root.path()).unwrap();
    let (under_way, lock) = first.inner.temporary().unwrap();
    fs::write(root.path().join(WRITING).join("99-1"), "half an obj").unwrap();
    let _second = FolderStore::open(root.path()).unwrap();
    assert!(under_way.exists(), "its writer lives");
    assert_eq!(files_in_writing(root.path()), 1);
    drop(lock);
    let _third = FolderStore::open(root.path()).unwrap();
    assert_eq!(files_in_writing(root.path()), 0);
}

#[tokio::test]
async fn strange_files_are_no_objects() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path()).unwrap();
    store
        .put("ab/c", payload("x"), PutMode::Create)
        .await
        .unwrap();
    fs::write(root.path().join("ab").join("notes.txt~"), "").unwrap();
    fs::write(root.path().join("README"), "").unwrap();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    let keys: Vec<_> = store.list("", None, 10).await.unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test]
async fn a_file_in_the_way_is_told_in_words() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    fs::write(&path, "").unwrap();
    let error = FolderStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("in the way"), "{error}");
    let error = FolderStore::open(path.join("below"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("in the way"), "{error}");
}

#[tokio::test]
async fn a_key_too_long_for_a_file_is_refused_and_not_found() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path()).unwrap();
    let key = "k".repeat(300);
    let error = store.put(&key, payload("x"), PutMode::Create).await;
    assert!(matches!(error, Err(PutError::Refused { .. })));
    let error = store.get(&key).await;
    assert!(matches!(error, Err(GetError::NotFound { .. })));
    store.delete(&[key]).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_an_upload_goes_with_it() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path()).unwrap();
    let upload = store.begin_upload("ab/c").await.unwrap();
    upload.part(0, payload("half an obj")).await.unwrap();
    let _second = FolderStore::open(root.path()).unwrap();
    assert_eq!(files_in_writing(root.path()), 1, "its writer lives");
    drop(upload);
    assert_eq!(files_in_writing(root.path()), 0);
    assert!(store.list("", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_is_one_file_from_beginning_to_end() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::open(root.path()).unwrap();
    let upload = store.begin_upload("ab/c").await.unwrap();
    upload.part(0, payload("a longer one")).await.unwrap();
    upload.part(0, payload("short")).await.unwrap();
    upload.finish(1, 5).await.unwrap();
    assert_eq!(store.get("ab/c").await.unwrap(), "short");
    assert_eq!(files_in_writing(root.path()), 0);
    store.delete(&["ab/c".to_owned()]).await.unwrap();
    let again = upload.finish(1, 5).await;
    assert!(matches!(again, Err(PutError::Refused { .. })), "{again:?}");
}
