// Service Catalog as one process: the released controller and the released admission webhooks.
//
// The released program cannot start on a Kubernetes newer than 1.21: before anything else it lists
// its own custom resource definitions by way of apiextensions.k8s.io/v1beta1, which is gone. The
// packages below it need nothing that is gone. So this is their wiring without that look; what they
// do, and every setting of theirs, is as released.
package main

import (
	"context"
	"flag"
	"log"
	"time"

	osb "github.com/kubernetes-sigs/go-open-service-broker-client/v2"
	"github.com/kubernetes-sigs/service-catalog/pkg/apis/servicecatalog/v1beta1"
	"github.com/kubernetes-sigs/service-catalog/pkg/client/clientset_generated/clientset"
	informers "github.com/kubernetes-sigs/service-catalog/pkg/client/informers_generated/externalversions"
	"github.com/kubernetes-sigs/service-catalog/pkg/controller"
	clusterservicebroker "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterservicebroker/mutation"
	clusterservicebrokerchecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterservicebroker/validation"
	clusterserviceclass "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterserviceclass/mutation"
	clusterserviceclasschecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterserviceclass/validation"
	clusterserviceplan "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterserviceplan/mutation"
	clusterserviceplanchecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/clusterserviceplan/validation"
	servicebinding "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/servicebinding/mutation"
	servicebindingchecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/servicebinding/validation"
	servicebroker "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/servicebroker/mutation"
	servicebrokerchecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/servicebroker/validation"
	serviceclass "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceclass/mutation"
	serviceclasschecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceclass/validation"
	serviceinstance "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceinstance/mutation"
	serviceinstancechecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceinstance/validation"
	serviceplan "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceplan/mutation"
	serviceplanchecks "github.com/kubernetes-sigs/service-catalog/pkg/webhook/servicecatalog/serviceplan/validation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The released defaults (cmd/controller-manager/app/options), which its chart leaves as they are.
const (
	agent              = "service-catalog-controller-manager"
	resync             = 5 * time.Minute
	relist             = 24 * time.Hour
	retryFor           = 7 * 24 * time.Hour
	pollingBackoff     = 20 * time.Minute
	brokerTimeout      = 60 * time.Second
	concurrentSyncs    = 5
	clusterIDNamespace = "default"
)

var handlers = map[string]admission.Handler{
	"/mutating-clusterservicebrokers":          &clusterservicebroker.CreateUpdateHandler{},
	"/mutating-clusterserviceclasses":          &clusterserviceclass.CreateUpdateHandler{},
	"/mutating-clusterserviceplans":            &clusterserviceplan.CreateUpdateHandler{},
	"/mutating-servicebindings":                &servicebinding.CreateUpdateHandler{},
	"/mutating-servicebrokers":                 &servicebroker.CreateUpdateHandler{},
	"/mutating-serviceclasses":                 &serviceclass.CreateUpdateHandler{},
	"/mutating-serviceinstances":               serviceinstance.NewCreateUpdateHandler(),
	"/mutating-serviceplans":                   &serviceplan.CreateUpdateHandler{},
	"/validating-clusterservicebrokers":        clusterservicebrokerchecks.NewSpecValidationHandler(),
	"/validating-clusterservicebrokers/status": &clusterservicebrokerchecks.StatusValidationHandler{},
	"/validating-clusterserviceclasses":        clusterserviceclasschecks.NewSpecValidationHandler(),
	"/validating-clusterserviceplans":          clusterserviceplanchecks.NewSpecValidationHandler(),
	"/validating-servicebindings":              servicebindingchecks.NewSpecValidationHandler(),
	"/validating-servicebindings/status":       &servicebindingchecks.StatusValidationHandler{},
	"/validating-servicebrokers":               servicebrokerchecks.NewSpecValidationHandler(),
	"/validating-servicebrokers/status":        &servicebrokerchecks.StatusValidationHandler{},
	"/validating-serviceclasses":               serviceclasschecks.NewSpecValidationHandler(),
	"/validating-serviceinstances":             serviceinstancechecks.NewSpecValidationHandler(),
	"/validating-serviceplans":                 serviceplanchecks.NewSpecValidationHandler(),
}

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	port := flag.Int("webhook-port", 0, "where the webhooks listen, on 127.0.0.1")
	certificates := flag.String("webhook-certificates", "", "folder with the webhooks' tls.crt and tls.key")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatalf("reading the kubeconfig: %v", err)
	}

	if err := v1beta1.AddToScheme(scheme.Scheme); err != nil {
		log.Fatalf("registering the types of Service Catalog: %v", err)
	}
	go func() { log.Fatalf("the webhooks ended: %v", serveWebhooks(config, *port, *certificates)) }()
	log.Fatalf("the controller ended: %v", control(config))
}

func serveWebhooks(config *rest.Config, port int, certificates string) error {
	all, err := manager.New(config, manager.Options{MetricsBindAddress: "0"})
	if err != nil {
		return err
	}
	server := &webhook.Server{Host: "127.0.0.1", Port: port, CertDir: certificates}
	for path, handler := range handlers {
		server.Register(path, &webhook.Admission{Handler: handler})
	}
	if err := all.Add(server); err != nil {
		return err
	}
	return all.Start(make(chan struct{}))
}

func control(config *rest.Config) error {
	ctx := context.Background()
	core, err := kubernetes.NewForConfig(rest.AddUserAgent(config, agent))
	if err != nil {
		return err
	}
	catalog, err := clientset.NewForConfig(rest.AddUserAgent(config, agent))
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: agent})

	factory := informers.NewSharedInformerFactory(catalog, resync)
	shared := factory.Servicecatalog().V1beta1()
	loops, err := controller.NewController(
		core,
		catalog.ServicecatalogV1beta1(),
		shared.ClusterServiceBrokers(),
		shared.ServiceBrokers(),
		shared.ClusterServiceClasses(),
		shared.ServiceClasses(),
		shared.ServiceInstances(),
		shared.ServiceBindings(),
		shared.ClusterServicePlans(),
		shared.ServicePlans(),
		osb.NewClient,
		relist,
		osb.LatestAPIVersion().HeaderValue(),
		recorder,
		retryFor,
		pollingBackoff,
		controller.DefaultClusterIDConfigMapName,
		clusterIDNamespace,
		brokerTimeout,
	)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	loops.Run(concurrentSyncs, ctx.Done())
	return nil
}
