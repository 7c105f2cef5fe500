"""Cloud Storage, JSON API v1.

Records: a bucket is `storage/b/<bucket>`, a live object `storage/b/<bucket>/o/<object>`, a noncurrent one the same with
`#<generation>` behind it; `hidden["content"]` holds an object's bytes. The policy of a bucket is kept under
`projects/_/buckets/<bucket>`, as Google names it in `resourceId`.

Lifecycle rules act as soon as their condition holds, when the bucket is next called; at Google within a day
(https://cloud.google.com/storage/docs/lifecycle#behavior). Not emulated, and refused: access control lists (objects
have the default one, projectPrivate, without what it gives to who uploads), soft-deleted objects and buckets,
notifications, folders, customer-managed keys, the XML API and with it signed URLs.
"""
