//! presignd signs what S3 offers: every operation of aws-sdk-s3, and the four deprecated ones that only botocore still knows.

use presignd::sign::operations::OPERATIONS;

/// Replaced by `..Configuration`, and still answered by S3.
pub(super) const DEPRECATED: [&str; 4] = [
    "GetBucketLifecycle",
    "GetBucketNotification",
    "PutBucketLifecycle",
    "PutBucketNotification",
];

/// The names of operations, of which each has to be a type of aws-sdk-s3.
macro_rules! of_the_sdk {
    ($($module:ident::$operation:ident,)*) => {
        [$({
            let _ = std::marker::PhantomData::<aws_sdk_s3::operation::$module::$operation>;
            stringify!($operation)
        },)*]
    };
}

#[test]
fn every_operation_of_the_sdk_and_the_deprecated_ones_can_be_signed() {
    let mut names = OF_THE_SDK.to_vec();
    names.extend(DEPRECATED);
    names.sort_unstable();
    let own: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(own, names);
    assert_eq!((OF_THE_SDK.len(), own.len()), (112, 116));
}

const OF_THE_SDK: [&str; 112] = of_the_sdk![
    abort_multipart_upload::AbortMultipartUpload,
    complete_multipart_upload::CompleteMultipartUpload,
    copy_object::CopyObject,
    create_bucket::CreateBucket,
    create_bucket_metadata_configuration::CreateBucketMetadataConfiguration,
    create_bucket_metadata_table_configuration::CreateBucketMetadataTableConfiguration,
    create_multipart_upload::CreateMultipartUpload,
    create_session::CreateSession,
    delete_bucket::DeleteBucket,
    delete_bucket_analytics_configuration::DeleteBucketAnalyticsConfiguration,
    delete_bucket_cors::DeleteBucketCors,
    delete_bucket_encryption::DeleteBucketEncryption,
    delete_bucket_intelligent_tiering_configuration::DeleteBucketIntelligentTieringConfiguration,
    delete_bucket_inventory_configuration::DeleteBucketInventoryConfiguration,
    delete_bucket_lifecycle::DeleteBucketLifecycle,
    delete_bucket_metadata_configuration::DeleteBucketMetadataConfiguration,
    delete_bucket_metadata_table_configuration::DeleteBucketMetadataTableConfiguration,
    delete_bucket_metrics_configuration::DeleteBucketMetricsConfiguration,
    delete_bucket_ownership_controls::DeleteBucketOwnershipControls,
    delete_bucket_policy::DeleteBucketPolicy,
    delete_bucket_replication::DeleteBucketReplication,
    delete_bucket_tagging::DeleteBucketTagging,
    delete_bucket_website::DeleteBucketWebsite,
    delete_object::DeleteObject,
    delete_object_annotation::DeleteObjectAnnotation,
    delete_object_tagging::DeleteObjectTagging,
    delete_objects::DeleteObjects,
    delete_public_access_block::DeletePublicAccessBlock,
    get_bucket_abac::GetBucketAbac,
    get_bucket_accelerate_configuration::GetBucketAccelerateConfiguration,
    get_bucket_acl::GetBucketAcl,
    get_bucket_analytics_configuration::GetBucketAnalyticsConfiguration,
    get_bucket_cors::GetBucketCors,
    get_bucket_encryption::GetBucketEncryption,
    get_bucket_intelligent_tiering_configuration::GetBucketIntelligentTieringConfiguration,
    get_bucket_inventory_configuration::GetBucketInventoryConfiguration,
    get_bucket_lifecycle_configuration::GetBucketLifecycleConfiguration,
    get_bucket_location::GetBucketLocation,
    get_bucket_logging::GetBucketLogging,
    get_bucket_metadata_configuration::GetBucketMetadataConfiguration,
    get_bucket_metadata_table_configuration::GetBucketMetadataTableConfiguration,
    get_bucket_metrics_configuration::GetBucketMetricsConfiguration,
    get_bucket_notification_configuration::GetBucketNotificationConfiguration,
    get_bucket_ownership_controls::GetBucketOwnershipControls,
    get_bucket_policy::GetBucketPolicy,
    get_bucket_policy_status::GetBucketPolicyStatus,
    get_bucket_replication::GetBucketReplication,
    get_bucket_request_payment::GetBucketRequestPayment,
    get_bucket_tagging::GetBucketTagging,
    get_bucket_versioning::GetBucketVersioning,
    get_bucket_website::GetBucketWebsite,
    get_object::GetObject,
    get_object_acl::GetObjectAcl,
    get_object_annotation::GetObjectAnnotation,
    get_object_attributes::GetObjectAttributes,
    get_object_legal_hold::GetObjectLegalHold,
    get_object_lock_configuration::GetObjectLockConfiguration,
    get_object_retention::GetObjectRetention,
    get_object_tagging::GetObjectTagging,
    get_object_torrent::GetObjectTorrent,
    get_public_access_block::GetPublicAccessBlock,
    head_bucket::HeadBucket,
    head_object::HeadObject,
    list_bucket_analytics_configurations::ListBucketAnalyticsConfigurations,
    list_bucket_intelligent_tiering_configurations::ListBucketIntelligentTieringConfigurations,
    list_bucket_inventory_configurations::ListBucketInventoryConfigurations,
    list_bucket_metrics_configurations::ListBucketMetricsConfigurations,
    list_buckets::ListBuckets,
    list_directory_buckets::ListDirectoryBuckets,
    list_multipart_uploads::ListMultipartUploads,
    list_object_annotations::ListObjectAnnotations,
    list_object_versions::ListObjectVersions,
    list_objects::ListObjects,
    list_objects_v2::ListObjectsV2,
    list_parts::ListParts,
    put_bucket_abac::PutBucketAbac,
    put_bucket_accelerate_configuration::PutBucketAccelerateConfiguration,
    put_bucket_acl::PutBucketAcl,
    put_bucket_analytics_configuration::PutBucketAnalyticsConfiguration,
    put_bucket_cors::PutBucketCors,
    put_bucket_encryption::PutBucketEncryption,
    put_bucket_intelligent_tiering_configuration::PutBucketIntelligentTieringConfiguration,
    put_bucket_inventory_configuration::PutBucketInventoryConfiguration,
    put_bucket_lifecycle_configuration::PutBucketLifecycleConfiguration,
    put_bucket_logging::PutBucketLogging,
    put_bucket_metrics_configuration::PutBucketMetricsConfiguration,
    put_bucket_notification_configuration::PutBucketNotificationConfiguration,
    put_bucket_ownership_controls::PutBucketOwnershipControls,
    put_bucket_policy::PutBucketPolicy,
    put_bucket_replication::PutBucketReplication,
    put_bucket_request_payment::PutBucketRequestPayment,
    put_bucket_tagging::PutBucketTagging,
    put_bucket_versioning::PutBucketVersioning,
    put_bucket_website::PutBucketWebsite,
    put_object::PutObject,
    put_object_acl::PutObjectAcl,
    put_object_annotation::PutObjectAnnotation,
    put_object_legal_hold::PutObjectLegalHold,
    put_object_lock_configuration::PutObjectLockConfiguration,
    put_object_retention::PutObjectRetention,
    put_object_tagging::PutObjectTagging,
    put_public_access_block::PutPublicAccessBlock,
    rename_object::RenameObject,
    restore_object::RestoreObject,
    select_object_content::SelectObjectContent,
    update_bucket_metadata_annotation_table_configuration::UpdateBucketMetadataAnnotationTableConfiguration,
    update_bucket_metadata_inventory_table_configuration::UpdateBucketMetadataInventoryTableConfiguration,
    update_bucket_metadata_journal_table_configuration::UpdateBucketMetadataJournalTableConfiguration,
    update_object_encryption::UpdateObjectEncryption,
    upload_part::UploadPart,
    upload_part_copy::UploadPartCopy,
    write_get_object_response::WriteGetObjectResponse,
];
