//! The load balancer's pods: nginx under the same agent.

use k8s_openapi::api::apps::v1::StatefulSet;
use muster_model::AppName;

use crate::names::{BALANCER, balancer_secret};
use crate::pods::{Kind, Placement, stateful_set_spec, template};
use crate::{Deployment, Object, images};

/// How long requests that are under way may take when a load balancer ends, in seconds.
const GRACE: i64 = 60;

pub(crate) fn stateful_set(deployment: &Deployment<'_>, name: &AppName) -> Object {
    let image = deployment.coordinator.spec.images.as_ref().and_then(|images| images.nginx.clone());
    let kind = Kind {
        component: BALANCER,
        program: "/coordinator",
        command: "proxy",
        image: image.unwrap_or_else(|| images::NGINX.to_owned()),
        binary: images::NGINX_BINARY,
        secret: balancer_secret(name),
        data: "/tmp/nginx".to_owned(),
        data_mount: None,
        // Not the receivers, which come and go: the template would change with them.
        ports: &[("http", deployment.plan.main_port())],
        grace: GRACE,
    };
    let template = template(deployment, name, name, kind, &Placement::from(deployment.coordinator));
    Object::StatefulSet(Box::new(StatefulSet {
        metadata: deployment.of_coordinator(name, name.as_str()),
        spec: Some(stateful_set_spec(name, &deployment.plan.balancers, template)),
        status: None,
    }))
}
