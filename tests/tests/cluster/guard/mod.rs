//! Guard policies that limit what the webhook's service account may write, whatever RBAC allows.

mod api_service;
mod auditor_role;
mod webhook_configurations;
